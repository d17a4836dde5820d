"""Chains of small generations, copied from one without the pipeline."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from heterrec_pipeline.keeping import purge
from heterrec_schemas.generation import open_generation
from heterrec_schemas.leases import as_text, this_process
from heterrec_schemas.manifest import Ancestor, Manifest

NOW = datetime.now(UTC)
OLD = timedelta(days=30)


def generation_id(number: int) -> str:
    """Ids that sort by their number."""
    return f"20260101T{number:09d}Z-{number:08x}"


def add(
    source: Path, output: Path, number: int, parent: int | None = None, age: timedelta = OLD
) -> str:
    """Copy a generation into an output under another id, as the child of one that is there; returns the id."""
    name, above = generation_id(number), output / "generations"
    root = above / name
    # Linked: nothing changes a file in place.
    shutil.copytree(source, root, copy_function=os.link)
    path = root / "manifest.json"
    path.unlink()
    manifest = Manifest.model_validate_json((source / "manifest.json").read_text())
    lineage: list[Ancestor] = []
    if parent is not None:
        found = Manifest.model_validate_json(
            (above / generation_id(parent) / "manifest.json").read_text()
        )
        own = Ancestor(generation=found.generation, content_sha256=found.content_sha256)
        lineage = [*found.lineage, own]
    changes: dict[str, Any] = {
        "generation": name,
        "parent": lineage[-1].generation if lineage else None,
        "lineage": lineage,
        "created": (NOW - age).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    path.write_text(manifest.model_copy(update=changes).to_json())
    moment = time.time() - age.total_seconds()
    os.utime(path, (moment, moment))
    return name


def point(output: Path, name: str) -> None:
    """Let `latest.json` name a generation."""
    (output / "latest.json").write_text(json.dumps({"generation": name}))


def named(output: Path) -> str:
    """What `latest.json` names."""
    return str(json.loads((output / "latest.json").read_text())["generation"])


def standing(output: Path) -> list[str]:
    """The generations with a manifest."""
    found = (output / "generations").iterdir()
    return sorted(p.name for p in found if (p / "manifest.json").exists())


def put_lease(output: Path, name: str, silent: float = 0.0, **changes: Any) -> Path:
    """A reader's lease of this process with changed fields, whose last heartbeat is some seconds ago."""
    path = output / "leases" / name / "0123.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_text(this_process() | {"purpose": "train"} | changes))
    moment = time.time() - silent
    os.utime(path, (moment, moment))
    return path


def check_only_generations(output: Path) -> None:
    """No file is left besides `latest.json` and whole generations once a purge has cleared what is old."""
    moment = time.time() - 7200
    for path in output.rglob("*"):
        os.utime(path, (moment, moment))
    purge(str(output), 100, wait=lambda seconds: None)  # nobody lives
    expected = {"latest.json"}
    for name in standing(output):
        files = open_generation(output / "generations" / name, verify="hashes").manifest.files
        expected |= {f"generations/{name}/{p}" for p in ("manifest.json", *(f.path for f in files))}
    found = {str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()}
    assert sorted(found ^ expected) == []
