"""Checks that the counts of a manifest equal those computed from Beam's metrics."""

import operator
from pathlib import Path
from typing import Any

from building import build_dataset
from strategies import Dataset

from heterrec_schemas.manifest import Manifest


def from_metrics(metrics: dict[str, int], manifest: Manifest) -> dict[str, Any]:
    """The counts computed from metrics as docs/operations.md describes; of the manifest, only names are used."""
    get = lambda name: metrics.get(name, 0)  # noqa: E731
    tables = {
        table: {
            "rows": get(f"{table}.rows"),
            "kept": get(f"{table}.keys"),
            "rejected": get(f"{table}.unusable") + get(f"{table}.duplicate"),
            "repeated": get(f"{table}.repeated"),
            "erased": get(f"{table}.erased"),
            "filtered": get(f"{table}.filtered"),
        }
        for table in ("items", "users")
    }
    names = ("read", "kept", "unknown_item", "duplicate", "short_user", "erased", "filtered")
    log = {k: get(f"interactions.{k}") for k in names}
    log["rejected"] = get("interactions.malformed") + get("interactions.bad")
    return {
        "items": tables["items"] | {"retired": get("retired.rows")},
        "users": tables["users"] if manifest.counts.users else None,
        "interactions": log,
        "sequences": {s: get(f"sequences.{s}") for s in manifest.counts.sequences},
        "rejects": {k[8:]: v for k, v in sorted(metrics.items()) if k.startswith("rejects.")},
        "features": [
            (f.name, get(f"{f.side}/{f.name}.missing"), get(f"{f.side}/{f.name}.oov"))
            for f in manifest.features
        ],
        "files": (get("files.count"), get("files.rows"), get("files.bytes")),
        "inputs": (get("inputs.files"), get("inputs.bytes")),
    }


def from_manifest(manifest: Manifest) -> dict[str, Any]:
    """The same counts from the manifest itself."""
    counts = manifest.counts.model_dump(mode="json")
    for table in (counts["items"], counts["users"]):
        if table is not None:
            table["rows"] = table.pop("read") + table["repeated"]
    files = manifest.files
    return counts | {
        "rejects": {str(reason): entries for reason, entries in manifest.rejects.items()},
        "features": [(f.name, f.missing, f.oov) for f in manifest.features],
        "files": (len(files), sum(f.rows or 0 for f in files), sum(f.bytes for f in files)),
        "inputs": (len(manifest.inputs), sum(i.bytes for i in manifest.inputs)),
    }


def check(dataset: Dataset, folder: Path, *flags: str, exact: bool = True, **how: Any) -> Any:
    """Build and compare; returns the result of the build.

    Args:
        dataset: what to build.
        folder: an empty folder.
        *flags: Beam's.
        exact: whether the engine never loses a bundle's metrics. Of one that may, no count exceeds the manifest's.
        **how: of `build_dataset`.
    """
    result = build_dataset(dataset, folder, pipeline_args=list(flags), **how)
    found, expected = from_metrics(result.metrics, result.manifest), from_manifest(result.manifest)
    agree = operator.eq if exact else at_most
    different = {
        name: (found[name], n) for name, n in expected.items() if not agree(found[name], n)
    }
    assert not different, f"metrics and manifest disagree: {different}"
    stages = {stage.stage: stage for stage in result.stages}
    assert {"Catalogue", "Log", "Histories", "Splits", "Sequences", "Publish"} <= set(stages)
    counts, files = result.manifest.counts, result.manifest.files
    assert agree(stages["Log"].rows_read, counts.interactions.read)
    assert agree(sum(s.bytes_written for s in stages.values()), sum(f.bytes for f in files))
    assert agree(stages["Splits"].rows_spilled, sum(counts.sequences.values()))
    assert all(s.seconds >= 0 and s.started <= s.ended for s in stages.values())
    return result


def at_most(found: Any, expected: Any) -> bool:
    """Whether no number in `found` exceeds the one in the same place of `expected`, and everything else is equal."""
    if isinstance(expected, dict):
        return set(found) <= set(expected) and all(at_most(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(at_most, found, expected))
    return found <= expected if isinstance(expected, int) else found == expected
