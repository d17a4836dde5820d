"""`statistics.json` and `schema/`: the contents of a generation, for reports and for readers without Arrow."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, table_of
from heterrec_pipeline.job import ITEMS, Job
from heterrec_schemas.manifest import SPLITS, FeatureEntry


def statistics(
    counts: dict[str, int],
    entries: list[FeatureEntry],
    summaries: Mapping[str, dict[str, Any]],
) -> str:
    """Shares, sizes and distributions as JSON text, a line per feature.

    `history_lengths` and `train_counts` are pairs (smallest number of a bin, number of users or items), `days` pairs (first
    day since 1970, interactions), with `days_per_bin`.

    Args:
        counts: all counts.
        entries: the features.
        summaries: more about each feature, by `<side>/<feature>`.
    """
    items = counts[f"{ITEMS}.keys"]
    kept, latest = counts.get("interactions.kept", 0), counts.get("sequences.latest", 0)
    features = []
    for entry in entries:
        rows = items if entry.side == "item" else counts.get("users.keys", 0)
        features.append(
            {
                "name": entry.name,
                "side": entry.side,
                "kind": entry.kind,
                "vocabulary_size": entry.vocabulary_size,
                "missing_share": round(entry.missing / rows, 6) if rows else 0.0,
                "oov_share": round(entry.oov / rows, 6) if rows else 0.0,
                **summaries.get(f"{entry.side}/{entry.name}", {}),
            }
        )
    body = {
        "items": items,
        "users": latest,
        "interactions": kept,
        "interactions_per_user": round(kept / latest, 6) if latest else 0.0,
        "sequences": {s: counts.get(f"sequences.{s}", 0) for s in SPLITS},
        "history_lengths": _pairs(counts, "lengths."),
        "train_counts": _pairs(counts, "train_counts."),
        "days_per_bin": counts.get("days.width", 1),
        "days": _pairs(counts, "days."),
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in body.items()]
    shown = ",\n".join(f"  {json.dumps(feature)}" for feature in features)
    return "{\n" + ",\n".join([*lines, f' "features": [\n{shown}\n ]']) + "\n}\n"


def _pairs(counts: Mapping[str, int], prefix: str) -> list[tuple[int, int]]:
    """The counts whose names are a prefix and a number, by the number."""
    named = ((n.removeprefix(prefix), k) for n, k in counts.items() if n.startswith(prefix))
    return sorted((int(n), k) for n, k in named if n != "width")


def with_fits(
    job: Job, summaries: Mapping[str, dict[str, Any]], judged: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Add what the fit of an embedding has measured to its statistics; a frozen one keeps what its parent has.

    The manifest says in which generation each feature was fitted.
    """
    known = {f"{f['side']}/{f['name']}": f["fit"] for f in _parents(job) if "fit" in f}
    fits = known | dict(judged)
    return {
        name: found | ({"fit": fits[name]} if name in fits and "codes" in found else {})
        for name, found in summaries.items()
    }


def _parents(job: Job) -> list[dict[str, Any]]:
    """The features of the parent's statistics."""
    if job.parent is None:
        return []
    path = job.parent.path("statistics.json")
    if not storage.exists(path):
        return []
    features: list[dict[str, Any]] = json.loads(storage.read_bytes(path)).get("features", [])
    return features


def arrow_schemas(root: str, files: list[Written]) -> Iterator[tuple[str, str]]:
    """The Arrow schema of each kind of table, read from its first shard: (path, JSON text)."""
    firsts: dict[str, Written] = {}
    for file in files:
        if file.rows >= 0:  # a table
            firsts.setdefault(table_of(file.path).replace("/", "-"), file)
    for kind, file in firsts.items():
        # In a retry the file may have its final name already.
        final = storage.join(root, file.path)
        path = file.temporary if storage.exists(file.temporary) else final
        with storage.open_arrow(path) as handle:
            yield f"schema/{kind}.json", schema_json(pq.read_schema(handle))


def schema_json(schema: pa.Schema) -> str:
    """An Arrow schema as JSON text."""
    fields = [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in schema]
    return json.dumps({"fields": fields}, indent=1) + "\n"
