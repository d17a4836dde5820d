"""Categorical features: the texts of a cell, the vocabulary, the ids.

Texts of a batch are held in long form: a row position and a cleaned text, in the order of the cells.
"""

import json
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.features.cells import EncodedColumn
from heterrec_pipeline.reading.jsonl import typed
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import MISSING, number_vocabulary, oov_ids
from heterrec_schemas.values import Seen, column_text, is_text

PATH_SEPARATOR = " > "


def texts(feature: CategoricalFeature, column: pa.Array) -> tuple[pl.DataFrame, Seen]:
    """The texts of every cell, missing ones left out.

    Args:
        feature: says how nested or separated cells are read.
        column: n raw cells.

    Returns:
        Columns `row` (int64 position) and `value` (text) in the order of the cells, and what the values are.

    Raises:
        SchemaMismatchError: lists in a feature that is not multivalued, or a type that is no category.
    """
    if not feature.multivalued:
        if _is_list(column.type) or pa.types.is_binary(column.type):
            raise SchemaMismatchError(
                f"feature {feature.name!r}: column {feature.column!r} holds lists",
                got=str(column.type),
                expected="one value a cell",
                todo="Set multivalued: true, or name another column.",
            )
        value, seen = column_text(column, feature.column)
        return _present(
            feature, pl.DataFrame({"row": _positions(len(value)), "value": value})
        ), seen
    if feature.separator is not None and is_text(column.type):
        column = pl.Series(column).cast(pl.String).str.split(feature.separator).to_arrow()
    if pa.types.is_binary(column.type):
        column = _lists_from_json(column, feature.separator)
    if not _is_list(column.type):
        value, seen = column_text(column, feature.column)
        return _present(
            feature, pl.DataFrame({"row": _positions(len(value)), "value": value})
        ), seen
    return _list_texts(feature, column)


def _lists_from_json(column: pa.Array, separator: str | None) -> pa.Array:
    """Cells of mixed shapes as lists of paths: a single value is a path of one node."""
    leaves: list[Any] = []
    path_ends, cell_ends = [0], [0]
    for cell in column.to_pylist():
        value = None if cell is None else json.loads(cell)
        if separator is not None and isinstance(value, str):
            value = value.split(separator)
        for path in value if isinstance(value, list) else [value]:
            leaves.extend(path if isinstance(path, list) else [path])
            path_ends.append(len(leaves))
        cell_ends.append(len(path_ends) - 1)
    paths = pa.ListArray.from_arrays(
        pa.array(path_ends, pa.int32()), typed(leaves, "nodes", "JSON")
    )
    return pa.ListArray.from_arrays(pa.array(cell_ends, pa.int32()), paths)


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(
        t.is_list(kind)
        or t.is_large_list(kind)
        or t.is_fixed_size_list(kind)
        or t.is_list_view(kind)
    )


def _positions(count: int) -> pl.Series:
    return pl.int_range(count, eager=True, dtype=pl.Int64)


def _present(feature: CategoricalFeature, long: pl.DataFrame) -> pl.DataFrame:
    long = long.filter(pl.col("value").is_not_null())
    if feature.missing_values:
        long = long.filter(~pl.col("value").is_in(feature.missing_values))
    return long


def _exploded(column: pa.Array) -> tuple[pl.Series, pa.Array]:
    """The row position of each element of a list column, and the elements."""
    series = pl.DataFrame({"row": _positions(len(column))}).with_columns(
        length=pl.Series(pc.list_value_length(column)).fill_null(0)
    )
    rows = series.select(pl.col("row").repeat_by("length").explode(empty_as_null=False)).to_series()
    return rows, column.flatten()


def _list_texts(feature: CategoricalFeature, column: pa.Array) -> tuple[pl.DataFrame, Seen]:
    rows, elements = _exploded(column)
    if not _is_list(elements.type):
        value, seen = column_text(elements, feature.column)
        return _present(feature, pl.DataFrame({"row": rows, "value": value})), seen
    paths, nodes = _exploded(elements)
    value, seen = column_text(nodes, feature.column)
    long = _present(feature, pl.DataFrame({"path": paths, "value": value}))
    owner = pl.DataFrame({"path": _positions(len(rows)), "row": rows})
    by_path = long.group_by("path", maintain_order=True).agg("value")
    joined = by_path.join(owner, on="path", how="left", maintain_order="left")
    mode = feature.nested or "nodes"
    if mode == "prefixes":
        return _prefixes(joined), Seen.TEXT if len(joined) else seen
    if mode == "leaf":
        return joined.select("row", pl.col("value").list.last()), seen
    return joined.select("row", "value").explode("value"), seen


def _prefixes(paths: pl.DataFrame) -> pl.DataFrame:
    depth = int(paths["value"].list.len().max() or 0)  # type: ignore[arg-type]
    levels = [
        paths.filter(pl.col("value").list.len() > k).select(
            "row",
            "path",
            pl.lit(k).alias("k"),
            pl.col("value").list.head(k + 1).list.join(PATH_SEPARATOR),
        )
        for k in range(depth)
    ]
    if not levels:
        return pl.DataFrame(schema={"row": pl.Int64, "value": pl.String})
    return pl.concat(levels).sort("path", "k").select("row", "value")


def count(long: pl.DataFrame) -> pa.Table:
    """How many rows hold each text: columns value (text), count (int64)."""
    if long["row"].n_unique() < len(long):  # lists may hold a text twice; single values cannot
        long = long.unique(["row", "value"])
    counts = long.group_by("value").len("count")
    return counts.select("value", pl.col("count").cast(pl.Int64)).to_arrow()


def merge_counts(parts: list[pa.Table]) -> pa.Table:
    """Partial counts added up."""
    whole = pl.concat([pl.DataFrame(pl.from_arrow(p)) for p in parts])
    return whole.group_by("value").agg(pl.col("count").sum()).to_arrow()


def vocabulary(feature: CategoricalFeature, counts: pa.Table, seen: Seen, where: str) -> pa.Table:
    """The feature's vocabulary: id, value (text), count, shard, sorted by id.

    Raises:
        DataError: every value is missing.
    """
    if len(counts) == 0:
        raise all_missing(feature.name, feature.column, where)
    return number_vocabulary(
        pl.DataFrame(pl.from_arrow(counts)),
        integral=seen.integral,
        oov_buckets=feature.oov_buckets,
        shards=feature.shards,
        min_count=feature.min_count,
        max_size=feature.max_size,
    ).to_arrow()


def all_missing(name: str, column: str, where: str, detail: str = "") -> DataError:
    """The error of a feature without a single usable value."""
    return DataError(
        f"feature {name!r}: every value of column {column!r} in {where} is missing{detail}",
        expected="at least one usable value",
        todo="Check the column and missing_values, or leave the feature out of the spec.",
    )


def encode(feature: CategoricalFeature, column: pa.Array, fitted: pa.Table) -> EncodedColumn:
    """The ids of every cell: int32, or list<int32> for a multivalued feature."""
    long, _ = texts(feature, column)
    ids = pl.DataFrame(pl.from_arrow(fitted.select(["value", "id"])))
    joined = long.join(ids, on="value", how="left", maintain_order="left")
    outside = joined["id"].is_null()
    oov_rows = 0
    if outside.any():
        strange = joined.filter(outside)
        oov_rows = strange["row"].n_unique()
        replaced = oov_ids(strange["value"], feature.oov_buckets)
        joined = joined.with_columns(id=joined["id"].scatter(outside.arg_true(), replaced))
    joined = joined.select("row", pl.col("id").cast(pl.Int32))
    rows = pl.DataFrame({"row": _positions(len(column))})
    if not feature.multivalued:
        whole = rows.join(joined, on="row", how="left", maintain_order="left")
        return EncodedColumn(_arrow(whole["id"].fill_null(MISSING), pa.int32()), oov_rows, [])
    lists = (
        joined.filter(pl.col("id") != MISSING)
        .unique(["row", "id"], keep="first", maintain_order=True)
        .group_by("row", maintain_order=True)
        .agg(pl.col("id") if feature.max_values is None else pl.col("id").head(feature.max_values))
    )
    whole = rows.join(lists, on="row", how="left", maintain_order="left")
    filled = whole["id"].fill_null(pl.Series([[MISSING]], dtype=pl.List(pl.Int32)))
    return EncodedColumn(_arrow(filled, pa.list_(pa.int32())), oov_rows, [])


def _arrow(series: pl.Series, kind: pa.DataType) -> pa.Array:
    array = series.to_arrow().cast(kind)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
