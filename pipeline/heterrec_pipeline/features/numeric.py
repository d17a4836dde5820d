"""Numeric features: numbers from a column of any type, quantile edges, bins."""

import math
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import (
    BadCell,
    EncodedColumn,
    ParsedColumn,
    all_missing,
    cell_text,
)
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import NumericFeature
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.tokens import numeric_edges, numeric_tokens
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import Seen, is_text

FOLDER = "boundaries"
Numbers = npt.NDArray[np.float64]
_BOOLEANS = {"true": 1.0, "false": 0.0}


def is_number_like(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read as numbers: numbers, decimals, booleans, text."""
    t = pa.types
    if t.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        t.is_integer(kind)
        or t.is_floating(kind)
        or t.is_decimal(kind)
        or t.is_boolean(kind)
        or t.is_null(kind)
        or is_text(kind)
    )


def numbers(feature: NumericFeature, column: pa.Array) -> tuple[Numbers, list[BadCell]]:
    """The numbers of a column: float64, NaN where missing or unreadable, and the unreadable cells.

    Booleans are 1 and 0; in JSON lines that mix them with other types they are the texts true and false.

    Raises:
        SchemaMismatchError: the column's type cannot be read as numbers.
    """
    if not is_number_like(column.type):
        raise SchemaMismatchError(
            f"feature {feature.name!r}: column {feature.column!r} has no numbers",
            got=str(column.type),
            expected="numbers, booleans, or text that contains numbers",
        )
    column = _decoded(column)
    if is_text(column.type):
        values, bad = _parsed(feature, column)
    else:
        # Through polars: its casts of integers and text to float64 round to nearest.
        raw = column.cast(pa.string()) if pa.types.is_decimal(column.type) else column
        found = pl.Series(raw).cast(pl.Float64).fill_null(math.nan)
        values, bad = found.to_numpy().astype(np.float64), []
    if feature.missing_values:
        values[_listed(feature, column, values)] = math.nan
    return values + 0.0, bad


def equals_missing(feature: NumericFeature, column: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether the number of each cell is one of the feature's `missing_values`; False for a cell without a number."""
    values, _ = numbers(feature.model_copy(update={"missing_values": []}), column)
    return _listed(feature, _decoded(column), values)


def _decoded(column: pa.Array) -> pa.Array:
    """The column without a dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _listed(feature: NumericFeature, column: pa.Array, values: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each number is one of `missing_values`, compared at the precision of the column."""
    kind, texts = column.type, feature.missing_values
    if pa.types.is_integer(kind):
        whole = [n for text in texts if (n := _integer(text)) is not None]
        return pl.Series(column).cast(pl.Int128).is_in(whole).fill_null(False).to_numpy()
    listed = [number for text in texts if (number := _float(text)) is not None]
    if pa.types.is_boolean(kind):
        listed += [_BOOLEANS[text] for text in texts if text in _BOOLEANS]
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        with np.errstate(over="ignore"):
            narrow = [float(np.array(n, kind.to_pandas_dtype())) for n in listed]
        # A number beyond the range of the type is none of its infinities.
        listed = [m for m, n in zip(narrow, listed, strict=True) if np.isfinite(m) or np.isinf(n)]
    return np.isin(values, listed)


def _integer(text: str) -> int | None:
    """A text as an exact integer of up to 64 bits."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    inside = number.is_finite() and -(2**63) <= number < 2**64
    return int(number) if inside and number == number.to_integral_value() else None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parsed(feature: NumericFeature, column: pa.Array) -> tuple[Numbers, list[BadCell]]:
    text, _ = column_text(column, feature.column)
    if feature.missing_values:
        text = text.set(text.is_in(feature.missing_values).fill_null(False), None)
    quick = text.cast(pl.Float64, strict=False)
    # Python's float decides where polars fails or may differ (inf, nan, 1_000).
    doubtful = (text.is_not_null() & (quick.is_null() | ~quick.is_finite())).fill_null(False)
    values = quick.fill_null(math.nan).to_numpy().astype(np.float64)
    bad: list[BadCell] = []
    for position in doubtful.arg_true().to_list():
        number = _float(text[position])
        if number is None:
            number = _BOOLEANS.get(text[position])
        values[position] = math.nan if number is None else number
        if number is None:
            raw = cell_text(column[position].as_py())
            bad.append(BadCell(position, Reason.NOT_A_NUMBER, raw))
    return values, bad


def parse(feature: NumericFeature, column: pa.Array) -> ParsedColumn:
    """The numbers of n raw cells; NaN where there is none."""
    values, bad = numbers(feature, column)
    return ParsedColumn(pa.array(values), Seen.NOTHING, bad)


def collect(
    feature: NumericFeature, values: pa.Array, keys: pl.Series, population: int
) -> pa.Table:
    """The finite numbers of a batch, with hash and key for a bottom-k sample where the population exceeds `fit_sample`.

    Args:
        feature: the feature.
        values: n parsed cells.
        keys: n texts, the items' (or users') keys.
        population: number of items (or users) in total.

    Returns:
        Column value (float64); hash (uint64) and key (text) too when population exceeds fit_sample.
    """
    table = pl.DataFrame({"value": values.to_numpy()})
    if population > feature.fit_sample:
        table = table.with_columns(hash=hash_texts(keys), key=keys)
    # Declared boundaries need no fit, only a check that there are values: infinite ones suffice.
    value = pl.col("value")
    usable = value.is_not_nan() if feature.boundaries is not None else value.is_finite()
    return bottom_k(table.filter(usable), feature.fit_sample).to_arrow()


def bottom_k(table: pl.DataFrame, k: int) -> pl.DataFrame:
    """The k rows with the smallest (hash, key)."""
    return table if len(table) <= k else table.sort("hash", "key").head(k)


def merge(feature: NumericFeature, parts: list[pa.Table]) -> pa.Table:
    """Merge the samples of several batches."""
    whole = pl.concat([pl.DataFrame(pl.from_arrow(p)) for p in parts])
    return bottom_k(whole, feature.fit_sample).to_arrow()


def edges(feature: NumericFeature, sampled: pa.Table | None, where: str) -> Numbers:
    """The feature's boundaries: the declared ones, or the quantiles of the sample.

    Raises:
        DataError: every value is missing.
    """
    empty = sampled is None or len(sampled) == 0
    if empty:
        raise all_missing(feature.name, feature.column, where)
    if feature.boundaries is not None:
        return np.array(feature.boundaries, dtype=np.float64) + 0.0
    assert sampled is not None
    assert feature.bins is not None
    return numeric_edges(sampled["value"].to_numpy(), feature.bins)


def fit(feature: NumericFeature, parts: list[pa.Table], where: str) -> pa.Table:
    """The rows of `boundaries/`, from all samples of a feature."""
    whole = merge(feature, parts) if parts else None
    return pa.table([pa.array(edges(feature, whole, where))], schema=BOUNDARIES_SCHEMA)


def encode(feature: NumericFeature, values: pa.Array, fitted: pa.Table) -> EncodedColumn:
    """The bins of n parsed cells: int32."""
    tokens = numeric_tokens(values.to_numpy(), fitted["edge"].to_numpy())
    return EncodedColumn(pa.array(tokens), 0)
