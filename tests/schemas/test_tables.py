import json
from typing import Literal

import pyarrow as pa
import pytest

from heterrec_schemas.feature_spec import FeatureSpec, parse_spec
from heterrec_schemas.manifest import FORMAT_VERSION, SPLITS, FeatureEntry
from heterrec_schemas.tables import (
    BOUNDARIES_SCHEMA,
    ITEM_COUNTS_SCHEMA,
    METADATA_KEY,
    QUANTIZERS_SCHEMA,
    ROW_GROUP,
    WIDE_ROW_GROUP,
    items_schema,
    key_type,
    sequences_schema,
    shard_name,
    vocabulary_schema,
    with_metadata,
)


def spec(
    *,
    layout: Literal["referenced", "flattened"] = "referenced",
    windows: Literal["last", "all"] = "last",
    behaviour: bool = True,
) -> FeatureSpec:
    behaviours = "behaviour: {column: b, values: [view]}" if behaviour else ""
    return parse_spec(f"""
version: 1
name: shop
items:
  source: {{path: items.parquet}}
  key: item_id
  features:
    - {{name: tags, kind: categorical, column: t, multivalued: true}}
    - {{name: brand, kind: categorical, column: b}}
    - {{name: price, kind: numeric, column: p, bins: 4}}
    - {{name: look, kind: embedding, column: v, dim: 6, groups: 3, quantiles: 2}}
interactions:
  source: {{path: log.csv}}
  user: user_id
  item: item_id
  timestamp: {{column: timestamp, unit: s}}
  {behaviours}
users:
  source: {{path: users.parquet}}
  key: user_id
  features: [{{name: age, kind: numeric, column: age, bins: 4}}]
sequences: {{max_length: 5, train_windows: {windows}}}
split: {{method: leave_one_out}}
output: {{layout: {layout}}}
""")


def columns(schema: pa.Schema) -> list[str]:
    """`name type` of each field, without the inner names of lists."""
    return [
        f"{f.name} {f.type}".replace("element: ", "").replace("item: ", "").replace("child ", "")
        for f in schema
    ]


HISTORY = ["item_index list<int64>", "timestamp_ms list<int64>", "behaviour list<int32>"]
TARGETS = [f"target_{column}" for column in HISTORY]


def test_items_hold_a_column_a_feature_in_the_specs_order() -> None:
    assert columns(items_schema(spec(), integral=False)) == [
        "item_index int64",
        "item_id string",
        "tags list<int32>",
        "brand int32",
        "price int32",
        "look fixed_size_list<int32>[3]",
    ]


@pytest.mark.parametrize(
    ("split", "more"), [("train", []), ("validation", TARGETS), ("test", TARGETS), ("latest", [])]
)
def test_sequences_hold_targets_where_there_are_some(split: str, more: list[str]) -> None:
    schema = sequences_schema(spec(), split, integral=True)
    assert columns(schema) == ["user_id int64", *HISTORY, *more, "user_age int32"]


def test_windows_are_told_apart_in_train_only() -> None:
    schemas = {s: sequences_schema(spec(windows="all"), s, integral=True) for s in SPLITS}
    assert columns(schemas["train"]) == [
        "user_id int64",
        *HISTORY,
        "window int32",
        "user_age int32",
    ]
    assert all("window" not in schemas[s].names for s in SPLITS if s != "train")


def test_without_behaviours_there_is_no_such_column() -> None:
    schema = sequences_schema(spec(behaviour=False), "test", integral=False)
    assert not [name for name in schema.names if "behaviour" in name]


def test_the_flattened_layout_repeats_the_items() -> None:
    schema = sequences_schema(spec(layout="flattened"), "train", integral=False)
    assert columns(schema)[4:8] == [
        "item_tags list<list<int32>>",
        "item_brand list<int32>",
        "item_price list<int32>",
        "item_look list<fixed_size_list<int32>[3]>",
    ]


def test_the_other_tables() -> None:
    assert columns(vocabulary_schema(integral=True)) == [
        "id int64",
        "value int64",
        "count int64",
        "status string",
    ]
    assert columns(BOUNDARIES_SCHEMA) == ["edge double"]
    assert columns(QUANTIZERS_SCHEMA) == ["dim int32", "edge_index int32", "edge float"]
    assert columns(ITEM_COUNTS_SCHEMA) == ["item_index int64", "train_count int64"]


def test_nothing_is_ever_null() -> None:
    schemas = [
        items_schema(spec(), integral=True),
        *(sequences_schema(spec(), s, integral=True) for s in SPLITS),
        vocabulary_schema(integral=True),
        BOUNDARIES_SCHEMA,
        QUANTIZERS_SCHEMA,
        ITEM_COUNTS_SCHEMA,
    ]
    assert not [f.name for schema in schemas for f in schema if f.nullable]


def test_a_shard_explains_itself() -> None:
    entry = FeatureEntry(
        name="look",
        kind="embedding",
        side="item",
        vocabulary_size=6,
        groups=3,
        quantiles=2,
        missing=1,
        oov=0,
    )
    schema = items_schema(spec(), integral=True, entries=[entry])
    assert json.loads(schema.metadata[METADATA_KEY]) == {
        "format_version": FORMAT_VERSION,
        "table": "items",
        "features": [
            {
                "name": "look",
                "kind": "embedding",
                "side": "item",
                "vocabulary_size": 6,
                "groups": 3,
                "quantiles": 2,
            }
        ],
    }
    train = sequences_schema(spec(), "train", integral=True)
    assert json.loads(train.metadata[METADATA_KEY])["split"] == "train"


def test_metadata_has_one_spelling() -> None:
    one = with_metadata(BOUNDARIES_SCHEMA, "boundaries", b=1, a=2)
    other = with_metadata(BOUNDARIES_SCHEMA, "boundaries", a=2, b=1)
    assert one.metadata == other.metadata


def test_names_and_sizes() -> None:
    assert shard_name("items", 3, 32) == "items-00003-of-00032.parquet"
    assert (WIDE_ROW_GROUP, ROW_GROUP) == (8_192, 65_536)
    assert (key_type(True), key_type(False)) == (pa.int64(), pa.string())
