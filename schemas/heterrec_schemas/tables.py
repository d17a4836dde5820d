"""The Arrow schemas of a generation's tables; their metadata describes a shard."""

import json
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.manifest import FORMAT_VERSION, FeatureEntry

METADATA_KEY = b"heterrec"
ROW_GROUP = 65_536
"""Rows per row group."""
WIDE_ROW_GROUP = 8_192
"""Rows per row group of items and sequences, whose rows are wide."""
END_MS = 7_258_118_400_000
"""2200-01-01 in milliseconds since 1970: times are below it."""

ACTIVE, RETIRED, ERASED = "active", "retired", "erased"
"""Statuses of the rows of a vocabulary: the value occurs in the input; it does not; it was erased, and is null."""
BOUNDARIES_SCHEMA = pa.schema([pa.field("edge", pa.float64(), nullable=False)])
QUANTIZERS_SCHEMA = pa.schema(
    [
        pa.field("dim", pa.int32(), nullable=False),
        pa.field("edge_index", pa.int32(), nullable=False),
        pa.field("edge", pa.float32(), nullable=False),
    ]
)
ITEM_COUNTS_SCHEMA = pa.schema(
    [
        pa.field("item_index", pa.int64(), nullable=False),
        pa.field("train_count", pa.int64(), nullable=False),
    ]
)
ITEM_TIMES = "item_times"
"""Folder of the items' times; not part of the content hash, because models are not trained on them."""
FIRST_INTERACTION_SCHEMA = pa.schema(
    [
        pa.field("item_index", pa.int64(), nullable=False),
        pa.field("first_ms", pa.int64(), nullable=False),
    ]
)
AVAILABLE_FROM_SCHEMA = pa.schema(
    [
        pa.field("item_index", pa.int64(), nullable=False),
        pa.field("available_from_ms", pa.int64(), nullable=False),
    ]
)


def shard_name(stem: str, shard: int, shards: int) -> str:
    """`items` -> `items-00003-of-00032.parquet`."""
    return f"{stem}-{shard:05d}-of-{shards:05d}.parquet"


def key_type(integral: bool) -> pa.DataType:
    """The type of keys and vocabulary values: int64 if the source has whole numbers only."""
    return pa.int64() if integral else pa.string()


def with_metadata(schema: pa.Schema, table: str, **details: object) -> pa.Schema:
    """The schema with the format version, the table and further details as JSON in its metadata."""
    body = {"format_version": FORMAT_VERSION, "table": table, **details}
    return schema.with_metadata({METADATA_KEY: json.dumps(body, sort_keys=True).encode()})


def vocabulary_schema(integral: bool, *, erased: bool = False, **details: object) -> pa.Schema:
    """id, value (null in erased rows, if there may be some), count, status."""
    fields = [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("value", key_type(integral), nullable=erased),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ]
    return with_metadata(pa.schema(fields), "vocabulary", **details)


def _described(entries: Sequence[FeatureEntry]) -> list[dict[str, object]]:
    return [{"name": entry.name, **entry.details()} for entry in entries]


def items_schema(
    spec: FeatureSpec, *, integral: bool, entries: Sequence[FeatureEntry] = ()
) -> pa.Schema:
    """item_index, item_id, and one column per feature in the spec's order."""
    fields = [
        pa.field("item_index", pa.int64(), nullable=False),
        pa.field("item_id", key_type(integral), nullable=False),
    ]
    fields += [pa.field(f.name, f.token_type, nullable=False) for f in spec.items.features]
    return with_metadata(pa.schema(fields), "items", features=_described(entries))


def sequences_schema(
    spec: FeatureSpec, split: str, *, integral: bool, entries: Sequence[FeatureEntry] = ()
) -> pa.Schema:
    """The columns of a split's sequences: history, target (validation, test), window, user tokens."""
    behaviour = spec.interactions.behaviour is not None
    fields = [
        pa.field("user_id", key_type(integral), nullable=False),
        *_events("", behaviour),
    ]
    if spec.output.layout == "flattened":
        fields += [
            pa.field(f"item_{f.name}", pa.list_(f.token_type), nullable=False)
            for f in spec.items.features
        ]
    if split in ("validation", "test"):
        fields += _events("target_", behaviour)
    if split == "train" and spec.sequences.train_windows == "all":
        fields.append(pa.field("window", pa.int32(), nullable=False))
    fields += [pa.field(f"user_{f.name}", f.token_type, nullable=False) for f in spec.user_features]
    return with_metadata(pa.schema(fields), "sequences", split=split, features=_described(entries))


def _events(prefix: str, behaviour: bool) -> list[pa.Field]:
    fields = [
        pa.field(f"{prefix}item_index", pa.list_(pa.int64()), nullable=False),
        pa.field(f"{prefix}timestamp_ms", pa.list_(pa.int64()), nullable=False),
    ]
    if behaviour:
        fields.append(pa.field(f"{prefix}behaviour", pa.list_(pa.int32()), nullable=False))
    return fields


def check_columns(
    where: str,
    schema: pa.Schema,
    types: Mapping[str, Sequence[pa.DataType]],
    error: Callable[..., HeterrecError],
) -> None:
    """Check that a table has some columns, once each, with one of the allowed types; it may have others.

    Args:
        where: the table in messages.
        schema: of the table.
        types: the allowed types by column.
        error: makes the error from what is wrong, `got` and `expected`.
    """
    for name, allowed in types.items():
        got = schema.field(name).type if schema.names.count(name) == 1 else None
        if got not in allowed:
            raise error(
                f"{where}: column {name!r}",
                got="none" if got is None else str(got),
                expected=" or ".join(map(str, allowed)),
            )
