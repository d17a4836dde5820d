"""Times to whole milliseconds since 1970-01-01 UTC, exact, rounded down."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_FLOOR, Context, Decimal

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import BadCell, cell_at
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import Timestamp
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import END_MS
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import BLANKS, is_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_UNIT = {
    "s": Decimal(1000),
    "ms": Decimal(1),
    "us": Decimal("1e-3"),
    "ns": Decimal("1e-6"),
    "day": Decimal(86_400_000),
}
AVAILABLE_FROM = "items.available_from"
"""The setting of the items' times."""
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
Parser = Callable[[str], int | None]
_OUT = -1
"""Represents all times that are out of range, which unreadable ones are not."""


def milliseconds(
    column: pa.Array, timestamp: Timestamp, setting: str = "interactions.timestamp"
) -> pl.Series:
    """The times of a column.

    Args:
        column: n raw cells.
        timestamp: the unit or the format.
        setting: of the spec, for messages.

    Returns:
        n int64: milliseconds, -1 where out of range, null where missing or unreadable.

    Raises:
        SchemaMismatchError: the spec's unit or format does not fit the column's type.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _in_range(_from_timestamps(column))
    if pa.types.is_null(kind):
        return pl.Series([None] * len(column), dtype=pl.Int64)
    if is_text(kind):
        text = pl.Series(column).cast(pl.String).str.strip_chars(BLANKS)
        text = text.set((text == "").fill_null(False), None)
        if timestamp.unit in _PER_UNIT:
            return _in_range(_numbers_as_text(text, timestamp.unit))
        return _in_range(_distinct(text, lambda t: _moment(t, timestamp.format)))
    if pa.types.is_decimal(kind) and timestamp.unit in _PER_UNIT:
        return _in_range(_numbers_as_text(pl.Series(column.cast(pa.string())), timestamp.unit))
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if numeric and timestamp.unit in _PER_UNIT:
        return _in_range(_numbers(pl.Series(column), timestamp.unit))
    raise SchemaMismatchError(
        f"{setting}: column {timestamp.column!r} cannot be read as times",
        got=f"{kind} with {describe(timestamp)}",
        expected="text or numbers with a unit, text with a format, or a timestamp-typed column",
        todo=f"Set {setting}.unit (s, ms, us, ns, day, iso) or format.",
    )


def optional_times(
    column: pa.Array, timestamp: Timestamp, setting: str
) -> tuple[pl.Series, list[BadCell]]:
    """The times of a column in which cells may be missing: n int64, null where there is no usable time; the bad cells."""
    times = milliseconds(column, timestamp, setting)
    outside = (times < 0).fill_null(False)
    unreadable = times.is_null()
    if unreadable.any():
        text, _ = column_text(column, timestamp.column)
        unreadable &= text.is_not_null()
    bad = [
        BadCell(at, reason, cell_at(column, at))
        for reason, rows in (
            (Reason.TIME_UNREADABLE, unreadable),
            (Reason.TIME_OUT_OF_RANGE, outside),
        )
        for at in rows.arg_true().to_list()
    ]
    return times.set(outside, None), bad


def describe(timestamp: Timestamp) -> str:
    """The spec's unit or format, for messages."""
    if timestamp.unit is not None:
        return f"unit: {timestamp.unit}"
    return f"format: {timestamp.format!r}" if timestamp.format else "neither unit nor format"


def _in_range(times: pl.Series) -> pl.Series:
    out = ((times < 0) | (times >= END_MS)).fill_null(False)
    return times.set(out, _OUT) if out.any() else times


def _from_timestamps(column: pa.Array) -> pl.Series:
    kind = column.type
    if pa.types.is_date(kind):
        return pl.Series(column.cast(pa.date32()).cast(pa.int32())).cast(pl.Int64) * 86_400_000
    # As integers: polars supports neither seconds nor zones such as +05:30, and the values are UTC anyway.
    ticks = pl.Series(column.cast(pa.int64()))
    if kind.unit == "s":
        return _integers(ticks, "s")
    return ticks // {"ms": 1, "us": 1000, "ns": 1_000_000}[kind.unit]


def _numbers(series: pl.Series, unit: str) -> pl.Series:
    if series.dtype.is_integer():
        return _integers(series, unit)
    values = series.cast(pl.Float64)
    whole = ((values == values.floor()) & (values.abs() < 2.0**53)).fill_null(False)
    times = _integers(values.set(~whole, None).cast(pl.Int64), unit)
    odd = values.is_not_null() & ~whole & ~values.is_nan()
    if not odd.any():
        return times
    # A float has the value of its shortest decimal text; few are not whole milliseconds.
    text = pl.Series([repr(v) for v in values.filter(odd).to_list()], dtype=pl.String)
    return times.scatter(odd.arg_true(), _by_decimal(text, unit))


def _integers(series: pl.Series, unit: str) -> pl.Series:
    whole = series.cast(pl.Int64, strict=False)
    beyond = series.is_not_null() & whole.is_null()  # uint64
    if unit in ("us", "ns"):
        times = whole // (1000 if unit == "us" else 1_000_000)
    else:
        factor = int(_PER_UNIT[unit])
        # Out of range, where the product could overflow and the exact value does not matter.
        wide = ((whole > END_MS // factor + 1) | (whole < -1)).fill_null(False)
        times = whole.set(wide, _OUT) * factor
    return times.set(beyond, _OUT) if beyond.any() else times


def _numbers_as_text(text: pl.Series, unit: str) -> pl.Series:
    quick = text.cast(pl.Int64, strict=False)
    times = _integers(quick, unit)
    odd = text.is_not_null() & quick.is_null()
    if not odd.any():
        return times
    return times.scatter(odd.arg_true(), _by_decimal(text.filter(odd), unit))


def _by_decimal(text: pl.Series, unit: str) -> pl.Series:
    return _distinct(text, lambda t: _decimal(t, unit))


def _decimal(text: str, unit: str) -> int | None:
    try:
        value = Decimal(text)
        if not value.is_finite():
            return None
        if value and value.adjusted() > 30:
            return _OUT
        exact = _EXACT.multiply(value, _PER_UNIT[unit])
        return _bounded(int(exact.to_integral_value(ROUND_FLOOR)))
    except (ArithmeticError, ValueError):
        return None


def _bounded(ms: int) -> int:
    return ms if 0 <= ms < END_MS else _OUT


def _distinct(text: pl.Series, parse: Parser) -> pl.Series:
    """Parse each distinct text once."""
    words = text.drop_nulls().unique()
    parsed = pl.DataFrame(
        {"text": words, "ms": pl.Series([parse(w) for w in words.to_list()], dtype=pl.Int64)}
    )
    joined = pl.DataFrame({"text": text}).join(parsed, on="text", how="left", maintain_order="left")
    return joined["ms"]


def _moment(text: str, form: str | None) -> int | None:
    try:
        if form is not None:
            moment = datetime.strptime(text, form)
        else:
            moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return _bounded((moment - EPOCH) // timedelta(milliseconds=1))
    except OverflowError:
        return _OUT


def day_of(
    times_ms: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Days since 1970-01-01 UTC of times in milliseconds."""
    return times_ms // 86_400_000


def iso(ms: int) -> str:
    """A time in milliseconds as ISO 8601 text in UTC."""
    return (EPOCH + timedelta(milliseconds=ms)).isoformat().replace("+00:00", "Z")
