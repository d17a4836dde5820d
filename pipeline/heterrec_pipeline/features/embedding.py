"""Embedding features: vectors of a list column, quantile edges per dimension or codebooks, the tokens of a vector."""

import json
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.features.cells import BadCell, EncodedColumn, ParsedColumn, cell_text
from heterrec_schemas.codebooks import books_of, product_tokens, residual_tokens
from heterrec_schemas.feature_spec import EmbeddingFeature, ProductEmbedding, QuantileEmbedding
from heterrec_schemas.reductions import Reduction, reduce_vectors
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import QUANTIZERS_SCHEMA
from heterrec_schemas.tokens import MISSING, embedding_tokens
from heterrec_schemas.values import Seen, clean_text

FOLDER = "quantizers"
Vectors = npt.NDArray[np.float32]


class Quantizer(NamedTuple):
    """What encodes vectors: the table of edges or codebooks, and what reduces vectors before."""

    fitted: pa.Table
    reduction: Reduction | None = None


def is_vector_like(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold vectors: lists of numbers."""
    t = pa.types
    if not (t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind)):
        return False
    inner = kind.value_type
    return bool(t.is_floating(inner) or t.is_integer(inner) or t.is_null(inner))


def vectors(
    feature: EmbeddingFeature, column: pa.Array
) -> tuple[npt.NDArray[np.int64], Vectors, list[BadCell]]:
    """The usable vectors of a column.

    Args:
        feature: its `dim` is the width D.
        column: n raw cells: lists of numbers, or JSON as binary (from JSON lines with cells of several shapes).

    Returns:
        The positions of the M usable cells [M], their vectors [M, D] float32, and the bad cells. Null and empty cells are
        missing, which is not bad.
    """
    kind = column.type
    if not is_vector_like(kind) and not pa.types.is_binary(kind):
        # JSON lines: a batch may have no cells, or none with a vector. Other formats were rejected before.
        return np.empty(0, np.int64), np.empty((0, feature.dim), np.float32), _wrong_types(column)
    bad: list[BadCell] = []
    if pa.types.is_binary(kind):
        column, bad = _from_json(column)
    widths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    right = widths == feature.dim
    for position in np.flatnonzero((widths != 0) & ~right).tolist():
        bad.append(_bad(column, position, Reason.WRONG_WIDTH, f"width {widths[position]}"))
    positions = np.flatnonzero(right).astype(np.int64)
    whole = column if right.all() else column.take(pa.array(positions))
    flat = whole.flatten()
    values = float32_values(flat).reshape(-1, feature.dim)
    # One sum per row is enough: it is not finite if any value is not.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = values.sum(axis=1, dtype=np.float64)
    finite = np.isfinite(sums)
    if not finite.all():
        for k in np.flatnonzero(~finite).tolist():
            at = int(positions[k])
            bad.append(_bad(column, at, Reason.NON_FINITE, _not_finite(values[k])))
        positions, values = positions[finite], values[finite]
    return positions, values, sorted(bad)


def float32_values(flat: pa.Array) -> Vectors:
    """Numbers as float32, nulls as NaN; float64 beyond float32's range becomes infinite."""
    if flat.null_count or not pa.types.is_float32(flat.type):
        with np.errstate(over="ignore"):
            return (
                pl.Series(flat).cast(pl.Float64).fill_null(math.nan).to_numpy().astype(np.float32)
            )
    values: Vectors = flat.to_numpy(zero_copy_only=False)
    return values


def _bad(column: pa.Array, position: int, reason: Reason, problem: str) -> BadCell:
    start = column[position].as_py()[:4]
    return BadCell(position, reason, f"{problem}: {start}"[:-1] + ", ...]")


def _not_finite(vector: Vectors) -> str:
    d = int(np.flatnonzero(~np.isfinite(vector))[0])
    return f"{vector[d]} in dimension {d}"


def _wrong_types(column: pa.Array) -> list[BadCell]:
    """The bad cells of a column without vectors; missing cells are not bad."""
    return [
        BadCell(position, Reason.WRONG_TYPE, cell_text(json.dumps(cell, default=str)))
        for position, cell in enumerate(column.to_pylist())
        if not _is_missing(cell)
    ]


def _is_missing(cell: object) -> bool:
    return (
        cell is None
        or cell == []
        or (isinstance(cell, float) and math.isnan(cell))
        or (isinstance(cell, str) and clean_text(cell) is None)
    )


def _from_json(column: pa.Array) -> tuple[pa.Array, list[BadCell]]:
    """Parse JSON cells to lists; a cell that is not a list of numbers is bad."""
    rows: list[list[float] | None] = []
    bad: list[BadCell] = []
    for position, text in enumerate(column.to_pylist()):
        cell = None if text is None else json.loads(text)
        if _is_missing(cell):
            rows.append(None)
        elif isinstance(cell, list) and all(_is_number(x) for x in cell):
            rows.append([as_float(x) for x in cell])
        else:
            rows.append(None)
            bad.append(BadCell(position, Reason.WRONG_TYPE, cell_text(text.decode())))
    return pa.array(rows, pa.list_(pa.float64())), bad


def as_float(value: float | None) -> float:
    """A number of a vector as float64: null is NaN, an integer beyond the range of float64 is infinite."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def quantizer_table(edges_QD: Vectors) -> pa.Table:
    """Edges [q - 1, D] as the rows of `quantizers/`: by edge_index, then dim."""
    parts, dim = edges_QD.shape
    return pa.table(
        [
            pa.array(np.tile(np.arange(dim, dtype=np.int32), parts)),
            pa.array(np.repeat(np.arange(parts, dtype=np.int32), dim)),
            pa.array(np.ascontiguousarray(edges_QD).ravel()),
        ],
        schema=QUANTIZERS_SCHEMA,
    )


def parse(feature: EmbeddingFeature, column: pa.Array) -> ParsedColumn:
    """The vectors of n raw cells; null where there is no usable one."""
    positions, values, bad = vectors(feature, column)
    mask = None
    if len(positions) < len(column):
        whole = np.zeros((len(column), feature.dim), np.float32)
        whole[positions] = values
        missing = np.ones(len(column), np.bool_)
        missing[positions] = False
        values, mask = whole, pa.array(missing)
    flat = pa.array(values.ravel())
    cells = pa.FixedSizeListArray.from_arrays(flat, feature.dim, mask=mask)
    return ParsedColumn(cells, Seen.NOTHING, bad)


def encode(feature: EmbeddingFeature, values: pa.Array, fitted: Quantizer) -> EncodedColumn:
    """The Z tokens of n parsed cells: fixed_size_list<int32>[Z], all 1 where missing."""
    vectors_ND = float32_values(values.flatten()).reshape(-1, feature.dim)
    if fitted.reduction is not None:
        vectors_ND = reduce_vectors(vectors_ND, fitted.reduction)
    tokens = vector_tokens(feature, vectors_ND, fitted.fitted)
    if len(vectors_ND) < len(values):
        whole = np.full((len(values), feature.token_count), MISSING, dtype=np.int32)
        whole[values.is_valid().to_numpy(zero_copy_only=False)] = tokens
        tokens = whole
    array = pa.FixedSizeListArray.from_arrays(pa.array(tokens.ravel()), feature.token_count)
    return EncodedColumn(array, 0)


def vector_tokens(
    feature: EmbeddingFeature, vectors_ND: Vectors, fitted: pa.Table
) -> npt.NDArray[np.int32]:
    """The tokens of vectors: [N, Z]."""
    if isinstance(feature, QuantileEmbedding):
        edges_QD = fitted["edge"].to_numpy().reshape(feature.quantiles - 1, feature.width)
        return embedding_tokens(vectors_ND, edges_QD, feature.groups)
    encode_by = product_tokens if isinstance(feature, ProductEmbedding) else residual_tokens
    return encode_by(vectors_ND, books_of(fitted))
