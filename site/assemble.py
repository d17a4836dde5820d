"""Gathers the pages of the site in one folder: python site/assemble.py FOLDER. `make docs` builds the site from it."""

import shutil
import sys
from pathlib import Path

from pages import as_page, for_site, page_of
from reference import TITLES, commands_page, names_page, spec_page

import heterrec_model.commands
import heterrec_pipeline.commands

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"heterrec_schemas": "schemas", "heterrec_pipeline": "pipeline", "heterrec_model": "model"}


def assemble(target: Path) -> None:
    """Write all pages: those of docs/, the others to which they link, and the reference.

    Args:
        target: a folder, which is deleted first.
    """
    shutil.rmtree(target, ignore_errors=True)
    sources = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]
    _follow(["README.md", *sources], target)
    for path in sorted((ROOT / "site" / "assets").iterdir()):
        _write(target / "assets" / path.name, path.read_text(encoding="utf-8"))
    reference = target / "reference"
    _write(reference / "heterrec-pipeline.md", commands_page(heterrec_pipeline.commands.app))
    _write(reference / "heterrec-model.md", commands_page(heterrec_model.commands.app))
    schema = ROOT / "schemas" / "heterrec_schemas" / "json" / "feature_spec.schema.json"
    _write(reference / "spec.md", spec_page(schema))
    for package in TITLES:
        _write(reference / f"{package}.md", names_page(package, ROOT / ROOMS[package]))
    settings = "heterrec_model.config.settings"
    _write(reference / "settings.md", f"# Settings of a run\n\n::: {settings}\n")


def _follow(sources: list[str], target: Path) -> None:
    """Write files of the repository, and those to which they link, as pages."""
    seen = set(sources)
    while sources:
        source = sources.pop()
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".md"):
            text, links = for_site(source, text, lambda path: (ROOT / path).is_file())
            sources += dict.fromkeys(link for link in links if link not in seen)
            seen.update(links)
        else:
            text = as_page(source, text)
        _write(target / page_of(source), text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
