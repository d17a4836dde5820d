"""What a user reads before an installation: citation, change log and the commands that install."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROSE = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
CODE = [
    path
    for part in ("schemas", "pipeline", "model", "examples", "docker")
    for path in (ROOT / part).rglob("*")
    if path.suffix in (".py", ".yaml", ".Dockerfile") or path.name.startswith("Dockerfile")
]
FROM_AN_INDEX = re.compile(
    r"pip install (?:[^`\n#]*?[ '])?'?heterrec(?:\[[\w,]*\])?(?=['`]|\s*$|\s+(?!@))"
)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def version() -> str:
    return setup_cfg()["metadata"]["version"]


def test_the_readme_lists_the_extras_and_messages_name_no_others() -> None:
    extras = set(setup_cfg()["options.extras_require"])
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Installation\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == extras
    code = "\n".join(path.read_text(encoding="utf-8") for path in CODE)
    named = set(re.findall(r"""\bwith_extra\(["'](\w+)["']\)""", code))
    assert {"demo", "export", "report", "serve", "study"} <= named <= extras


def test_the_citation_has_the_keys_that_its_format_requires(version: str) -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == version
    [paper] = citation["references"]
    assert paper["type"] == "article"
    for work, keys in ((citation, ("message",)), (paper, ("type",))):
        assert {"title", "authors", *keys} <= set(work)
        assert work["authors"]
        assert all("name" in one or "family-names" in one for one in work["authors"])


def test_the_change_log_names_the_version(version: str) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^## (.+)$", text)
    assert headings
    form = re.compile(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}")
    assert [one for one in headings if not form.fullmatch(one)] == []
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"(?m)^### (.+)$", text)) <= kinds
    released = f"## [{version}] - " in text
    assert released or f"## [Unreleased]\n\nThis will be {version}" in text


def test_no_command_installs_heterrec_from_an_index() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (*PROSE, *CODE)
        for line in path.read_text(encoding="utf-8").splitlines()
        if FROM_AN_INDEX.search(line)
    ]
    assert found == []


def test_an_installation_from_an_index_is_recognized() -> None:
    assert FROM_AN_INDEX.search("pip install 'heterrec[model]'")
    assert FROM_AN_INDEX.search("uv pip install heterrec")
    assert not FROM_AN_INDEX.search("uv pip install 'heterrec[pipeline,gcp] @ .'")
    assert not FROM_AN_INDEX.search("pip install 'dist/heterrec-0.1.0-py3-none-any.whl[serve]'")
