"""`statistics.json` and `schema/`: the contents of a generation, for reports and for readers without Arrow."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, table_of
from heterrec_pipeline.job import ITEMS
from heterrec_schemas.manifest import SPLITS, FeatureEntry


def statistics(counts: dict[str, int], entries: list[FeatureEntry]) -> str:
    """Shares and sizes as JSON text."""
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
            }
        )
    body = {
        "items": items,
        "users": latest,
        "interactions": kept,
        "interactions_per_user": round(kept / latest, 6) if latest else 0.0,
        "sequences": {s: counts.get(f"sequences.{s}", 0) for s in SPLITS},
        "features": features,
    }
    return json.dumps(body, indent=1) + "\n"


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
