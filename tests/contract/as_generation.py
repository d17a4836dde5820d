"""Writes what the reference found as a generation, so that other checkers can read it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from reference import Reference
from reference_values import Row

DATA = ("vocabularies", "boundaries", "quantizers", "items", "sequences", "item_counts")
EVENTS = {"item_index": pa.int64(), "timestamp_ms": pa.int64(), "behaviour": pa.int32()}


def write_generation(found: Reference, spec: Row, folder: Path) -> None:
    """A generation's data files and the parts of its manifest that a reader checks."""
    tables: dict[str, pa.Table] = {}
    for name, shards in found.vocabularies.items():
        for k, rows in enumerate(shards):
            tables[f"vocabularies/{name}-{k:05d}-of-{len(shards):05d}"] = pa.table(
                {
                    "id": pa.array([r[0] for r in rows], pa.int64()),
                    "value": pa.array([r[1] for r in rows], key_type(found.integral[name])),
                    "count": pa.array([r[2] for r in rows], pa.int64()),
                    "status": pa.array(["active"] * len(rows), pa.string()),
                }
            )
    for name, edges in found.boundaries.items():
        tables[f"boundaries/{name}"] = pa.table({"edge": pa.array(edges, pa.float64())})
    for name, edge_of in found.quantizers.items():
        places = sorted(edge_of)
        tables[f"quantizers/{name}"] = pa.table(
            {
                "dim": pa.array([d for d, _ in places], pa.int32()),
                "edge_index": pa.array([k for _, k in places], pa.int32()),
                "edge": pa.array([edge_of[p] for p in places], pa.float32()),
            }
        )
    shards = spec.get("output", {}).get("item_shards", 1)
    for s in range(shards):
        start, end = len(found.items) * s // shards, len(found.items) * (s + 1) // shards
        tables[f"items/items-{s:05d}-of-{shards:05d}"] = rows_table(
            found.items[start:end], items_types(spec, found)
        )
    for split, parts in found.sequences.items():
        for k, rows in enumerate(parts):
            tables[f"sequences/{split}-{k:05d}-of-{len(parts):05d}"] = rows_table(
                rows, sequence_types(spec, found, split)
            )
    tables["item_counts/item_counts-00000-of-00001"] = pa.table(
        {
            "item_index": pa.array([i for i, _ in found.item_counts], pa.int64()),
            "train_count": pa.array([c for _, c in found.item_counts], pa.int64()),
        }
    )
    write_files(tables, found, folder)


def write_files(tables: dict[str, pa.Table], found: Reference, folder: Path) -> None:
    files = []
    for stem in sorted(tables):
        path = folder / f"{stem}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(tables[stem], path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append({"path": f"{stem}.parquet", "rows": len(tables[stem]), "sha256": digest})
    lines = sorted(f"{f['path']} {f['sha256']}\n" for f in files)
    manifest = {
        "files": files,
        "counts": found.counts,
        "cuts": found.cuts,
        "content_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def key_type(integral: bool) -> pa.DataType:
    return pa.int64() if integral else pa.string()


def token_type(feature: Row) -> pa.DataType:
    """int32, list<int32> or fixed_size_list<int32>[groups]."""
    if feature["kind"] == "embedding":
        return pa.list_(pa.int32(), feature["groups"])
    return pa.list_(pa.int32()) if feature.get("multivalued") else pa.int32()


def items_types(spec: Row, found: Reference) -> dict[str, pa.DataType]:
    types = {"item_index": pa.int64(), "item_id": key_type(found.integral["item"])}
    return types | {f["name"]: token_type(f) for f in spec["items"].get("features", [])}


def sequence_types(spec: Row, found: Reference, split: str) -> dict[str, pa.DataType]:
    """Column -> type, in the order of the contract."""
    types: dict[str, Any] = {"user_id": key_type(found.integral["user_id"])}
    events = dict(EVENTS)
    if "behaviour" not in spec["interactions"]:
        del events["behaviour"]
    types |= {name: pa.list_(kind) for name, kind in events.items()}
    if spec.get("output", {}).get("layout") == "flattened":
        for f in spec["items"].get("features", []):
            types[f"item_{f['name']}"] = pa.list_(token_type(f))
    if split in ("validation", "test"):
        types |= {f"target_{name}": pa.list_(kind) for name, kind in events.items()}
    if split == "train" and spec["sequences"].get("train_windows") == "all":
        types["window"] = pa.int32()
    for f in spec.get("users", {}).get("features", []):
        types[f"user_{f['name']}"] = token_type(f)
    return types


def rows_table(rows: list[Row], types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({c: pa.array([r[c] for r in rows], t) for c, t in types.items()})
