"""Categorical features: texts of the cells, their counts, and their ids.

The values of a batch are a frame of row positions and cleaned texts, in the order of the cells.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.features.cells import EncodedColumn, ParsedColumn
from heterrec_pipeline.job import ErasingFeature
from heterrec_pipeline.reading.erased import NO_LIST, is_erased
from heterrec_pipeline.reading.formats.jsonl import typed
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import MISSING, oov_ids
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import Seen, is_list, is_text

PATH_SEPARATOR = " > "
"""Joins the nodes of a path prefix."""
FOLDER = "vocabularies"
FindIds = Callable[[pl.Series], pl.Series]
"""Maps texts to ids (int64); null for a text that is not in the vocabulary."""


def texts(feature: CategoricalFeature, column: pa.Array) -> tuple[pl.DataFrame, Seen]:
    """The texts of every cell, without missing ones.

    Args:
        feature: how nested or separated cells are read.
        column: n raw cells.

    Returns:
        Columns `row` (int64 position) and `value` (text) in the order of the cells, and the kinds of values.

    Raises:
        SchemaMismatchError: lists in a feature that is not multivalued, or a type that cannot be read as text.
    """
    if not feature.multivalued:
        if is_list(column.type) or pa.types.is_binary(column.type):
            raise SchemaMismatchError(
                f"feature {feature.name!r}: column {feature.column!r} holds lists",
                got=str(column.type),
                expected="one value per cell",
                todo="Set multivalued: true, or choose another column.",
            )
        value, seen = column_text(column, feature.column)
        return _present(
            feature, pl.DataFrame({"row": _positions(len(value)), "value": value})
        ), seen
    if feature.separator is not None and is_text(column.type):
        column = pl.Series(column).cast(pl.String).str.split(feature.separator).to_arrow()
    if pa.types.is_binary(column.type):
        column = _lists_from_json(column, feature.separator)
    if not is_list(column.type):
        value, seen = column_text(column, feature.column)
        return _present(
            feature, pl.DataFrame({"row": _positions(len(value)), "value": value})
        ), seen
    return _list_texts(feature, column)


def _lists_from_json(column: pa.Array, separator: str | None) -> pa.Array:
    """Convert cells of several shapes to lists of paths; a single value is a path of one node."""
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


def _positions(count: int) -> pl.Series:
    return pl.int_range(count, eager=True, dtype=pl.Int64)


def _present(feature: CategoricalFeature, values: pl.DataFrame) -> pl.DataFrame:
    values = values.filter(pl.col("value").is_not_null())
    if feature.missing_values:
        values = values.filter(~pl.col("value").is_in(feature.missing_values))
    return _unerased(feature, values)


def _unerased(feature: CategoricalFeature, values: pl.DataFrame) -> pl.DataFrame:
    if not isinstance(feature, ErasingFeature):
        return values
    return values.filter(~pl.Series(is_erased(feature.erased, values["value"])))


def erased_texts(feature: ErasingFeature, column: pa.Array) -> pl.Series:
    """The texts of all cells that are erased: of nested ones nodes, and paths if the feature has them."""
    plain = CategoricalFeature.model_validate(feature.model_dump(exclude={"erased"}))
    nodes = plain.model_copy(update={"nested": None})
    values = pl.concat([texts(f, column)[0]["value"] for f in (plain, nodes)])
    return values.filter(is_erased(feature.erased, values)).unique()


def _exploded(column: pa.Array) -> tuple[pl.Series, pa.Array]:
    """Row position of each element of a list column, and the elements."""
    series = pl.DataFrame({"row": _positions(len(column))}).with_columns(
        length=pl.Series(pc.list_value_length(column)).fill_null(0)
    )
    rows = series.select(pl.col("row").repeat_by("length").explode(empty_as_null=False)).to_series()
    return rows, column.flatten()


def _list_texts(feature: CategoricalFeature, column: pa.Array) -> tuple[pl.DataFrame, Seen]:
    rows, elements = _exploded(column)
    if not is_list(elements.type):
        value, seen = column_text(elements, feature.column)
        return _present(feature, pl.DataFrame({"row": rows, "value": value})), seen
    paths, nodes = _exploded(elements)
    value, seen = column_text(nodes, feature.column)
    values = _present(feature, pl.DataFrame({"path": paths, "value": value}))
    owner = pl.DataFrame({"path": _positions(len(rows)), "row": rows})
    by_path = values.group_by("path", maintain_order=True).agg("value")
    joined = by_path.join(owner, on="path", how="left", maintain_order="left")
    mode = feature.nested or "nodes"
    if mode == "prefixes":
        # A path is a value, too, and may be erased where its nodes are not.
        return _unerased(feature, _prefixes(joined)), Seen.TEXT if len(joined) else seen
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


def parse(feature: CategoricalFeature, column: pa.Array) -> ParsedColumn:
    """The texts of n raw cells as a dictionary, in lists if the feature is multivalued; no cell is bad."""
    found, seen = texts(feature, column)
    erased = False
    if isinstance(feature, ErasingFeature):
        whole, _ = texts(feature.model_copy(update={"erased": NO_LIST}), column)
        erased = not whole.equals(found)
    words = found["value"].to_arrow().cast(pa.large_string()).dictionary_encode()
    rows = found["row"].to_numpy()
    if feature.multivalued:
        ends = np.cumsum(np.bincount(rows, minlength=len(column)))
        offsets = pa.array(np.append(0, ends), pa.int32())
        return ParsedColumn(pa.ListArray.from_arrays(offsets, words), seen, [], erased)
    if len(rows) < len(column):
        codes, missing = np.zeros(len(column), np.int32), np.ones(len(column), np.bool_)
        codes[rows], missing[rows] = words.indices.to_numpy(), False
        words = pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), words.dictionary)
    return ParsedColumn(words, seen, [], erased)


class Codes(NamedTuple):
    """The values of parsed cells: the position of the cell of each value, its number among the words, and the words."""

    rows: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    words: pl.Series

    def frame(self) -> pl.DataFrame:
        """Columns `row` and `value` (text)."""
        return pl.DataFrame({"row": self.rows, "value": self.words.gather(self.codes)})


def codes_of(values: pa.Array) -> Codes:
    """The values of n parsed cells, in the order of the cells."""
    if is_list(values.type):
        rows = np.repeat(np.arange(len(values)), pc.list_value_length(values).to_numpy())
        values = values.flatten()
    else:
        present = values.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(present)
        values = values.drop_null()
    codes = values.indices.to_numpy(zero_copy_only=False)
    return Codes(rows, codes, pl.Series(values.dictionary, dtype=pl.String))


def collect(
    feature: CategoricalFeature, values: pa.Array, keys: pl.Series, population: int
) -> pa.Table:
    """Count the cells with each text: columns value (text), count (int64)."""
    rows, codes, words = codes_of(values)
    if feature.multivalued and len(codes):  # a list may contain a text twice
        codes = (np.unique(rows * len(words) + codes) % len(words)).astype(np.int32)
    counts = pl.Series(np.bincount(codes, minlength=len(words)), dtype=pl.Int64)
    found = pl.DataFrame({"value": words, "count": counts})
    return found.filter(pl.col("count") > 0).to_arrow()


def merge(feature: CategoricalFeature, parts: list[pa.Table]) -> pa.Table:
    """Sum partial counts."""
    counts = pl.concat([pl.DataFrame(pl.from_arrow(p)) for p in parts])
    return counts.group_by("value").agg(pl.col("count").sum()).to_arrow()


def encode(feature: CategoricalFeature, values: pa.Array, fitted: FindIds) -> EncodedColumn:
    """The ids of every cell: int32, or list<int32> for a multivalued feature.

    Args:
        feature: the feature.
        values: n parsed cells.
        fitted: finds the ids of texts.
    """
    rows, codes, words = codes_of(values)
    ids = value_ids(feature, words, fitted)[codes]
    if feature.multivalued:
        frame = ids.insert_column(0, pl.Series("row", rows, pl.Int64))
        return cells_of(feature, frame, _positions(len(values)))
    tokens = np.full(len(values), MISSING, np.int32)
    tokens[rows] = ids["id"].to_numpy()
    return EncodedColumn(pa.array(tokens), int(ids["outside"].sum()))


def value_ids(feature: CategoricalFeature, values: pl.Series, find: FindIds) -> pl.DataFrame:
    """Columns id (int32) of each text, and `outside`: whether it is not in the vocabulary."""
    ids = find(values)
    outside = ids.is_null()
    if outside.any():
        replaced = oov_ids(values.filter(outside), feature.oov_buckets)
        ids = ids.scatter(outside.arg_true(), replaced)
    return pl.DataFrame({"id": ids.cast(pl.Int32), "outside": outside})


def cells_of(feature: CategoricalFeature, values: pl.DataFrame, owners: pl.Series) -> EncodedColumn:
    """Token cells of some owners (rows, items or users).

    Args:
        feature: the feature.
        values: columns owner, `id` and `outside`; the values of an owner are in the order of its cell.
        owners: n distinct owners, one per cell; an owner without values has a missing cell.
    """
    owner = values.columns[0]
    oov_rows = values.filter("outside")[owner].n_unique()
    ids, filled = values.select(owner, "id"), pl.lit(MISSING, pl.Int32)
    if feature.multivalued:
        filled = pl.lit([MISSING], pl.List(pl.Int32))
        ids = (
            ids.filter(pl.col("id") != MISSING)
            .unique([owner, "id"], keep="first", maintain_order=True)
            .group_by(owner, maintain_order=True)
            .agg(
                pl.col("id")
                if feature.max_values is None
                else pl.col("id").head(feature.max_values)
            )
        )
    cells = pl.DataFrame({owner: owners}).join(ids, on=owner, how="left", maintain_order="left")
    column = cells.select(pl.col("id").fill_null(filled))["id"].to_arrow().cast(feature.token_type)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return EncodedColumn(column, oov_rows)
