"""What a recommender needs of a generation, as tables: items and values in text, popular items, histories.

Shapes: U users.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_model.bundle.files import UserFeature
from heterrec_model.bundle.histories import (
    BEHAVIOUR,
    ITEM,
    SEGMENT,
    SHARD_ROWS,
    TIME,
    USER_FEATURE,
    USER_HASH,
    USER_ID,
)
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.row_spans import RowGroupReader, row_group_spans
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, Feature
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.decode import ERASED_WORDS, bucket_words, decode_number
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tokens import FIRST_FREE

SEGMENT_ITEMS = 10_000
"""Maximum number of items of a segment in the table of popular items."""
POPULAR_SCHEMA = pa.schema(
    [
        pa.field("segment", pa.string()),
        pa.field("item_index", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
VALUES_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("token", pa.int64(), nullable=False),
    ]
)


def items_table(generation: Generation) -> pa.Table:
    """Columns item_index, item_id, retired, then one per feature that is not an embedding: text, or lists of text.

    The catalogue comes first, in the order of item_index, then the retired items that are still in histories. Missing values
    are null, or empty lists; numbers are shown as their bins.
    """
    features = [f for f in generation.spec.items.features if not isinstance(f, EmbeddingFeature)]
    names = ["item_index", "item_id", *(f.name for f in features)]
    catalogue, retired = generation.items(names), generation.retired(names)
    rows = pa.concat_tables([catalogue, retired])
    is_retired = np.arange(len(rows)) >= len(catalogue)
    columns = {
        "item_index": rows["item_index"],
        "item_id": rows["item_id"],
        "retired": pa.array(is_retired),
    }
    for feature in features:
        columns[feature.name] = _in_text(generation, feature, rows[feature.name])
    return pa.table(columns)


def _in_text(generation: Generation, feature: Feature, cells: pa.ChunkedArray) -> pa.Array:
    """The cells of a feature as text."""
    words = pa.array(_words(generation, feature), pa.string())
    array = pa.concat_arrays(cells.chunks) if cells.num_chunks != 1 else cells.chunk(0)
    if not pa.types.is_list(array.type):
        return words.take(array)
    flat = words.take(array.flatten())
    # a missing token is no value
    kept = flat.is_valid().to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(kept)])
    offsets = array.offsets.to_numpy() - array.offsets[0].as_py()
    return pa.ListArray.from_arrays(pa.array(ends[offsets], pa.int32()), flat.drop_null())


def _words(generation: Generation, feature: Feature) -> list[str | None]:
    """The text of every token of an item feature, None for missing ones."""
    entry = next(
        e for e in generation.manifest.features if e.side == "item" and e.name == feature.name
    )
    words: list[str | None] = [None] * entry.vocabulary_size
    if not isinstance(feature, CategoricalFeature):
        edges = generation.boundaries(feature.name)
        for token in range(FIRST_FREE, len(words)):
            words[token] = decode_number(token, edges)["words"]
        return words
    for bucket in range(feature.oov_buckets):
        words[FIRST_FREE + bucket] = bucket_words(FIRST_FREE + bucket, feature.oov_buckets)
    vocabulary = generation.vocabulary(feature.name)
    columns = (vocabulary[name].to_pylist() for name in ("id", "value"))
    for token, value in zip(*columns, strict=True):
        words[token] = ERASED_WORDS if value is None else str(value)
    return words


def user_features_of(
    generation: Generation, features: Sequence[FeatureInfo]
) -> tuple[list[UserFeature], pa.Table]:
    """The user features that a model reads, and a table feature, value, token of the categorical ones."""
    described: list[UserFeature] = []
    rows: dict[str, list[Any]] = {"feature": [], "value": [], "token": []}
    for info in features:
        feature, stem = generation.feature(f"user_{info.name}"), f"user_{info.name}"
        numeric = info.kind == "numeric"
        described.append(
            UserFeature(
                name=info.name,
                kind=info.kind,
                columns=info.groups or 1,
                multivalued=info.multivalued,
                oov_buckets=feature.oov_buckets if isinstance(feature, CategoricalFeature) else 0,
                edges=generation.boundaries(stem).tolist() if numeric else [],
            )
        )
        if info.kind == "categorical":
            for value, token in _values(generation, stem).items():
                rows["feature"].append(info.name)
                rows["value"].append(value)
                rows["token"].append(token)
    return described, pa.table(rows, schema=VALUES_SCHEMA)


def _values(generation: Generation, stem: str) -> dict[str, int]:
    """The tokens of a vocabulary by the text of their values, erased ones left out."""
    table = generation.vocabulary(stem)
    columns = (table[name].to_pylist() for name in ("value", "id"))
    return {str(value): token for value, token in zip(*columns, strict=True) if value is not None}


def segment_feature(generation: Generation, wanted: str | None) -> str | None:
    """The user feature that popular items are listed by: the given one, else the first categorical one with single values.

    Raises:
        CallError: the given one does not exist or is not categorical with single values.
    """
    usable = [
        f.name
        for f in generation.spec.user_features
        if isinstance(f, CategoricalFeature) and not f.multivalued
    ]
    if wanted is not None and wanted not in usable:
        raise CallError(
            f"segment-by: there is no categorical user feature {wanted!r} with single values",
            todo=suggest(wanted, usable) or "The generation has none.",
        )
    return wanted or (usable[0] if usable else None)


def history_tables(
    generation: Generation, features: Sequence[FeatureInfo], segment_by: str | None
) -> Iterator[pa.Table]:
    """The split `latest` in the layout of `bundle.histories`, one row group at a time, in the order of the shards.

    Raises:
        CorruptGenerationError: a shard cannot be read.
    """
    reader = RowGroupReader(generation, history_columns(generation, features, segment_by))
    for span in row_group_spans(generation, "latest"):
        yield as_history_rows(generation, reader.read(span), features, segment_by)


def history_columns(
    generation: Generation, features: Sequence[FeatureInfo], segment_by: str | None
) -> list[str]:
    """The columns of the shards that `as_history_rows` reads."""
    names = [USER_ID, ITEM, TIME]
    names += [BEHAVIOUR] if generation.spec.interactions.behaviour is not None else []
    names += [f"user_{f.name}" for f in features]
    names += [f"user_{segment_by}"] if segment_by is not None else []
    return list(dict.fromkeys(names))


def as_history_rows(
    generation: Generation,
    rows: pa.Table,
    features: Sequence[FeatureInfo],
    segment_by: str | None,
) -> pa.Table:
    """Rows of a sequence shard in the layout of `bundle.histories`."""
    texts_U = pl.Series(rows[USER_ID]).cast(pl.String)
    columns: dict[str, Any] = {
        USER_ID: rows[USER_ID],
        USER_HASH: pa.array(hash_texts(texts_U).to_numpy(), pa.uint64()),
    }
    columns |= {name: rows[name] for name in (ITEM, TIME, BEHAVIOUR) if name in rows.column_names}
    for feature in features:
        columns[USER_FEATURE + feature.name] = _as_lists(rows[f"user_{feature.name}"])
    if segment_by is not None:
        values = _values(generation, f"user_{segment_by}")
        names = {token: value for value, token in values.items()}
        shown = pa.array([names.get(t) for t in range(max(names, default=0) + 1)], pa.string())
        tokens = rows[f"user_{segment_by}"].to_numpy()
        columns[SEGMENT] = shown.take(pa.array(np.where(tokens < len(shown), tokens, 0)))
    return pa.table(columns)


def with_shard_rows(schema: pa.Schema, generation: Generation) -> pa.Schema:
    """The schema of the file of histories, with the number of rows of every shard in its metadata."""
    rows = {f.path: f.rows for f in generation.manifest.files}
    sizes = [rows[path] for path in generation.sequence_shards("latest")]
    return schema.with_metadata({SHARD_ROWS: json.dumps(sizes)})


def _as_lists(column: pa.ChunkedArray) -> pa.Array:
    """Cells of a user feature as lists of int64."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_list(array.type):
        return array.cast(pa.list_(pa.int64()))
    offsets = pa.array(np.arange(len(array) + 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, array.cast(pa.int64()))


class PopularCounts:
    """Counts the items of histories, for all users and by segment."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pa.Table) -> None:
        """Count the items of some histories."""
        lists = pa.concat_arrays(rows[ITEM].chunks)
        row_N = lists.value_parent_indices()
        segment_N: Any = pa.nulls(len(row_N), pa.string())
        if SEGMENT in rows.column_names:
            segment_N = pc.take(rows[SEGMENT], row_N)
        counted = pl.DataFrame(
            {"segment": pl.Series(segment_N), "item_index": pl.Series(lists.flatten())}
        )
        self._parts.append(counted.group_by("segment", "item_index").agg(count=pl.len()))

    def table(self) -> pa.Table:
        """Columns segment (null: all users), item_index, count; best first inside a segment."""
        empty = pl.DataFrame(
            schema={"segment": pl.String, "item_index": pl.Int64, "count": pl.UInt32}
        )
        merged = pl.concat([empty, *self._parts]).group_by("segment", "item_index")
        counts = merged.agg(pl.col("count").sum().cast(pl.Int64))
        whole = counts.group_by("item_index").agg(pl.col("count").sum())
        overall = whole.sort("count", "item_index", descending=[True, False]).select(
            segment=pl.lit(None, pl.String), item_index="item_index", count="count"
        )
        named = (
            counts.drop_nulls("segment")
            .sort("segment", "count", "item_index", descending=[False, True, False])
            .group_by("segment", maintain_order=True)
            .head(SEGMENT_ITEMS)
            .select("segment", "item_index", "count")
        )
        return pl.concat([overall, named]).to_arrow().cast(POPULAR_SCHEMA)
