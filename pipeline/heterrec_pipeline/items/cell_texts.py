"""Raw cells of a feature's column: which ones hold a value, and their text, which decides between values of one time."""

import json

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.features import embedding, numeric
from heterrec_pipeline.job import ErasingFeature
from heterrec_pipeline.keys.duplicates import canonical_text
from heterrec_pipeline.reading.erased import is_erased
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature, NumericFeature
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import is_whole_decimal

Mask = npt.NDArray[np.bool_]


def present_cells(feature: Feature, column: pa.Array) -> Mask:
    """Whether each of n cells holds a value: not null, NaN, blank, an empty list, one of `missing_values`, or erased."""
    if pa.types.is_nested(column.type):
        present = pl.Series(pc.list_value_length(column)).fill_null(0) > 0
    elif pa.types.is_floating(column.type) and not _lists_missing(feature):
        present = pl.Series(pc.invert(pc.is_null(column, nan_is_null=True)))
    else:
        present = cell_texts(feature, column).is_not_null()
    return present.to_numpy()


def cell_texts(feature: Feature, column: pa.Array) -> pl.Series:
    """The text of each cell, as `canonical_text` defines it; null where a scalar cell is missing."""
    if pa.types.is_nested(column.type):
        return _list_texts(feature, column)
    if pa.types.is_binary(column.type):  # JSON lines with cells of mixed shapes
        coded = pc.dictionary_encode(column)
        words = [
            None if c is None else canonical_text(feature, c) for c in coded.dictionary.to_pylist()
        ]
        known = pa.array([None if w in ("", "[]") else w for w in words], pa.string())
        text = pl.Series(known.take(coded.indices), dtype=pl.String)
    else:
        if pa.types.is_decimal(column.type) and not is_whole_decimal(column.type):
            column = pl.Series(column.cast(pa.string())).cast(pl.Float64).to_arrow()
        text, _ = column_text(column, feature.column)
    return text.set(_listed_as_missing(feature, column, text), None)


def _lists_missing(feature: Feature) -> bool:
    """Whether the spec lists texts that count as missing."""
    return bool(getattr(feature, "missing_values", [])) or isinstance(feature, ErasingFeature)


def _listed_as_missing(feature: Feature, column: pa.Array, text: pl.Series) -> pl.Series:
    """Whether each cell is one of `missing_values`, or erased."""
    if not _lists_missing(feature):
        return pl.repeat(False, len(text), eager=True)
    listed = text.is_in(getattr(feature, "missing_values", [])).fill_null(False)
    if isinstance(feature, ErasingFeature):
        listed |= pl.Series(is_erased(feature.erased, text))
    if isinstance(feature, NumericFeature) and not pa.types.is_binary(column.type):
        listed |= pl.Series(numeric.equals_missing(feature, column))
    return listed


def _list_texts(feature: Feature, column: pa.Array) -> pl.Series:
    """Vectors as the bytes of their float32 values in hex, other lists as JSON."""
    if isinstance(feature, EmbeddingFeature) and embedding.is_vector_like(column.type):
        values = embedding.float32_values(column.flatten()) + np.float32(0)
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.append(0, np.cumsum(lengths) * values.itemsize).astype(np.int32)
        raw = pa.Array.from_buffers(
            pa.binary(), len(column), [None, pa.py_buffer(ends), pa.py_buffer(values.tobytes())]
        )
        return pl.Series(raw).bin.encode("hex")
    return _json_texts(column)


def _json_texts(column: pa.Array) -> pl.Series:
    """Cells as JSON: lists of cleaned texts, null for a missing one."""
    if not pa.types.is_nested(column.type):
        text, _ = column_text(column)
        words = text.drop_nulls().unique()
        quoted = [json.dumps(w, ensure_ascii=False) for w in words.to_list()]
        return text.replace_strict(words, quoted, default=None, return_dtype=pl.String).fill_null(
            "null"
        )
    lengths = pl.Series(pc.list_value_length(column)).fill_null(0).to_numpy()
    owners = np.repeat(np.arange(len(column)), lengths)
    elements = pl.DataFrame({"cell": owners, "text": _json_texts(column.flatten())})
    joined = elements.group_by("cell").agg(pl.format("[{}]", pl.col("text").str.join(",")))
    cells = pl.DataFrame({"cell": np.arange(len(column))})
    texts = cells.join(joined, on="cell", how="left", maintain_order="left")["text"].fill_null("[]")
    return texts.set(pl.Series(column.is_null()), "null")
