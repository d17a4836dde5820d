"""The corner shop in a store: its input is copied there, and built from there to there in this process."""

import os
from pathlib import Path

from corner_shop import Shop

from heterrec_pipeline.building import BuildConfig
from heterrec_pipeline.building.config import BuildResult
from heterrec_pipeline.building.run import build
from heterrec_pipeline.files import storage
from heterrec_schemas.feature_spec import parse_spec


def stock(shop: Shop, folder: str) -> str:
    """Copy the shop's input into a store; returns its folder there."""
    for name in sorted(os.listdir(shop.input)):
        storage.write_bytes(f"{folder}/input/{name}", (shop.input / name).read_bytes())
    return f"{folder}/input"


def build_there(shop: Shop, folder: str, *flags: str) -> BuildResult:
    """Build from `folder`/input to `folder`/output."""
    text = shop.spec_path.read_text()
    config = BuildConfig(
        spec=parse_spec(text),
        spec_text=text,
        input=f"{folder}/input",
        output=f"{folder}/output",
        pipeline_args=list(flags),
    )
    return build(config)


def tables(root: Path) -> dict[str, bytes]:
    """The files of a local generation that are the same on any store, by path."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name not in ("manifest.json", "latest.json")
    }
