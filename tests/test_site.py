"""The site of `make docs`: it is built without a warning, has every page, and asks no other host for anything."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heterrec_model
import heterrec_pipeline
import heterrec_schemas

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (heterrec_model, heterrec_pipeline, heterrec_schemas)
OF_OTHER_HOSTS = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
)
NAVIGATION = re.compile(r": ([\w/.-]+\.md)$", re.MULTILINE)

sys.path.insert(0, str(ROOT / "site"))

from pages import for_site, page_of  # noqa: E402


def test_links_out_of_docs_lead_to_pages_of_the_site() -> None:
    text = "[a](../examples/x/README.md#b) [c](https://example.org/d.md) [e](adr/) [f](../g.py) [h](#i)"
    found, links = for_site("docs/page.md", text, lambda path: not path.endswith("adr"))
    assert found == (
        "[a](examples/x.md#b) [c](https://example.org/d.md) [e](adr/index.md) [f](files/g.py.md) [h](#i)\n"
    )
    assert links == ["examples/x/README.md", "docs/adr/README.md", "g.py"]


def test_lists_are_written_as_the_generator_reads_them() -> None:
    for given, expected in (
        ("1. a\n   b\n2. c\n", "1. a\n    b\n2. c\n"),
        ("1. a\n\n   ```sh\n   b\n   ```\n2. c\n", "1. a\n\n    ```sh\n    b\n    ```\n\n2. c\n"),
        ("a\n- b\n  - c\n", "a\n\n- b\n    - c\n"),
        ("a\n  b\n", "a\n  b\n"),
        ("```\n- a\n  b\n```\n", "```\n- a\n  b\n```\n"),
    ):
        assert for_site("docs/page.md", given, lambda _: True)[0] == expected


def test_every_page_is_in_the_navigation() -> None:
    listed = set(NAVIGATION.findall((ROOT / "site" / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page_of(f"docs/{path.name}") for path in ROOT.glob("docs/*.md")}
    assert pages - listed == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    for package in ("mkdocs", "material", "mkdocstrings", "griffe_pydantic"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    for command in (
        ("site/assemble.py", folder / "pages"),
        ("-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", _configuration(folder)),
    ):
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=variables | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def _configuration(folder: Path) -> Path:
    """The configuration for a site in another folder, so that tests in parallel do not share one."""
    text = (ROOT / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    path = folder / "mkdocs.yml"
    text = text.replace("../build/site_pages", "pages").replace("../build/site\n", "site\n")
    path.write_text(re.sub(r"\.\./(schemas|pipeline|model)", rf"{ROOT}/\1", text), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site: Path) -> None:
    assert (site / "tour.html").is_file()
    assert (site / "adr" / "0032-the-site.html").is_file()
    text = (site / "reference" / "heterrec-pipeline.html").read_text(encoding="utf-8")
    assert "--skip-unchanged" in text


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_in_the_reference(site: Path, package: object) -> None:
    name = package.__name__  # type: ignore[attr-defined]
    page = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
    assert [each for each in dir(package) if f'id="{name}.{each}"' not in page] == []


@pytest.mark.slow
def test_pages_take_nothing_from_other_hosts(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    found = [path.name for path in pages if OF_OTHER_HOSTS.search(path.read_text(encoding="utf-8"))]
    assert found == []
    # the theme would load the library of Mermaid for such a diagram
    assert [path.name for path in pages if 'class="mermaid"' in path.read_text("utf-8")] == []
