"""The columns of a generation's tables and their types, written out from the contract."""

from typing import Any

import pyarrow as pa

from heterrec_schemas.testing.reference import Reference
from heterrec_schemas.testing.reference_values import Row

DATA = (
    "vocabularies",
    "boundaries",
    "quantizers",
    "items",
    "retired",
    "sequences",
    "item_counts",
)
EVENTS = {"item_index": pa.int64(), "timestamp_ms": pa.int64(), "behaviour": pa.int32()}


def key_type(integral: bool) -> pa.DataType:
    return pa.int64() if integral else pa.string()


def token_type(feature: Row) -> pa.DataType:
    """int32, list<int32> or fixed_size_list<int32>[groups or levels]."""
    if feature["kind"] == "embedding":
        return pa.list_(pa.int32(), feature.get("groups") or feature["levels"])
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
