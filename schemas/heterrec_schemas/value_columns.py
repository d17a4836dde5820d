"""Columns as text: `values.value_text` for every cell of an Arrow column."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.values import (
    BLANKS,
    EPOCH,
    EXACT_FLOAT,
    Seen,
    is_scalar,
    is_text,
    is_whole_decimal,
    value_text,
)

MAX_TEXT_BYTES = 2**16
"""Length of a key or category: longer ones are none, and tables and shuffles hold each of them."""
_INT64 = range(-(2**63), 2**63)
_DAY_MS = 86_400_000
_WHOLE_NUMBERS = ((r"^-?0(?:\.0*)?$", "0"), (r"^(-?[1-9][0-9]*)\.0*$", r"\1"))
"""Spellings of whole numbers, each with the plain one."""


def column_text(column: pa.Array, name: str = "column") -> tuple[pl.Series, Seen]:
    """The cleaned text of every cell of an Arrow column, and the kinds of its values.

    Args:
        column: any scalar type of `is_scalar`, n cells.
        name: the column's name in errors.

    Returns:
        A text series of n cells, null where missing, and the kinds of values.

    Raises:
        SchemaMismatchError: the type cannot be a category or a key.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if not is_scalar(kind):
        raise SchemaMismatchError(
            f"column {name!r} cannot be a key or a category",
            got=str(kind),
            expected="text, integers, floats, booleans, dates or times",
        )
    if is_text(kind):
        text = _clean_series(pl.Series(name, column).cast(pl.String))
        return text, Seen.TEXT if text.null_count() < len(text) else Seen.NOTHING
    if pa.types.is_integer(kind):
        return _integer_text(column, name)
    if is_whole_decimal(kind):
        return _decimal_text(column, name)
    if pa.types.is_floating(kind):
        return _float_text(column, name)
    if pa.types.is_timestamp(kind):
        return _timestamp_text(column, name)
    if pa.types.is_date(kind):
        return _date_text(column, name)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    return _by_distinct(column, name, value_text), (
        Seen.TEXT if column.null_count < len(column) else Seen.NOTHING
    )


def without_missing(text: pl.Series, missing_values: Sequence[str]) -> pl.Series:
    """The texts of keys, null where they are listed as missing.

    Whole numbers compare as numbers: `-1` covers `-1.0`. A number with leading zeros is a text like any other.
    """
    if not missing_values:
        return text
    listed = {_plain_number(value) for value in missing_values}
    found = text
    for pattern, number in _WHOLE_NUMBERS:
        found = found.str.replace(pattern, number.replace("\\", "$"))
    return text.set(found.is_in(list(listed)).fill_null(False), None)


def _plain_number(text: str) -> str:
    """A whole number without fraction digits and as +0; any other text as it is."""
    for pattern, number in _WHOLE_NUMBERS:
        text = re.sub(pattern, number, text)
    return text


def _clean_series(text: pl.Series) -> pl.Series:
    """`clean_text` of a text series; pure ASCII needs no Unicode normalisation."""
    sizes = text.str.len_bytes()
    longest = sizes.max()
    if isinstance(longest, int) and longest > MAX_TEXT_BYTES:
        raise SchemaMismatchError(
            f"column {text.name!r} has a value of {longest:,} bytes",
            expected=f"keys and categories of at most {MAX_TEXT_BYTES:,} bytes",
            todo=f'Name another column, shorten the values with columns: {{{text.name}: "LEFT({text.name}, 1000)"}}, or '
            f"leave the rows out with where: OCTET_LENGTH({text.name}) <= {MAX_TEXT_BYTES}.",
        )
    if len(text) and (sizes != text.str.len_chars()).any():
        text = text.str.normalize("NFC")
    text = text.str.strip_chars(BLANKS)
    return text.set(text == "", None) if (text == "").any() else text


def _integer_text(column: pa.Array, name: str) -> tuple[pl.Series, Seen]:
    series = pl.Series(name, column)
    if series.null_count() == len(series):
        return series.cast(pl.String), Seen.NOTHING
    wide = series.dtype == pl.UInt64 and int(series.max()) not in _INT64  # type: ignore[arg-type]
    return series.cast(pl.String), Seen.TEXT if wide else Seen.WHOLE


def _decimal_text(column: pa.Array, name: str) -> tuple[pl.Series, Seen]:
    text = pl.Series(name, column.cast(pa.string()), dtype=pl.String)
    if text.null_count() == len(text):
        return text, Seen.NOTHING
    wide = text.cast(pl.Int64, strict=False).null_count() > text.null_count()
    return text, Seen.TEXT if wide else Seen.WHOLE


def _float_text(column: pa.Array, name: str) -> tuple[pl.Series, Seen]:
    series = pl.Series(name, column.cast(pa.float64())).fill_nan(None)
    present = series.drop_nulls()
    if present.is_empty():
        return series.cast(pl.String), Seen.NOTHING
    whole = present.is_finite() & (present == present.floor())
    if whole.all() and bool((present.abs() < EXACT_FLOAT).all()):
        return series.cast(pl.Int64).cast(pl.String), Seen.WHOLE
    seen = Seen.NOTHING
    if not whole.all():
        seen |= Seen.FRACTION
    inside = (present >= -(2.0**63)) & (present < 2.0**63)
    if (whole & inside).any():
        seen |= Seen.WHOLE
    if (whole & ~inside).any():
        seen |= Seen.TEXT
    return _by_distinct(series.to_arrow(), name, value_text), seen


def _timestamp_text(column: pa.Array, name: str) -> tuple[pl.Series, Seen]:
    """ISO 8601 in UTC, floored to microseconds; also for years beyond 9999, which datetime cannot hold."""
    # As integers: polars has neither seconds nor zones such as +05:30, and the instant is in UTC anyway.
    text = _by_distinct(column.cast(pa.int64()), name, partial(_moment_text, column.type.unit))
    return text, Seen.TEXT if text.null_count() < len(text) else Seen.NOTHING


def _moment_text(unit: str, moment: int | None) -> str | None:
    if moment is None:
        return None
    times, each = {"s": (10**6, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}[unit]
    microseconds = moment * times // each
    try:
        return value_text(EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:
        if not -(2**63) < microseconds < 2**63:
            return f"{np.array(moment, f'datetime64[{unit}]')}Z"
        return f"{np.datetime64(microseconds, 'us')}Z"


def _date_text(column: pa.Array, name: str) -> tuple[pl.Series, Seen]:
    """ISO 8601; also for years beyond 9999, which date cannot hold."""
    per_day = 1 if pa.types.is_date32(column.type) else _DAY_MS
    days = column.view(pa.int32() if per_day == 1 else pa.int64())
    text = _by_distinct(days, name, partial(_day_text, per_day))
    return text, Seen.TEXT if text.null_count() < len(text) else Seen.NOTHING


def _day_text(per_day: int, ticks: int | None) -> str | None:
    return None if ticks is None else str(np.datetime64(ticks // per_day, "D"))


def _by_distinct(column: pa.Array, name: str, text: Callable[[Any], str | None]) -> pl.Series:
    """Apply a scalar rule to each distinct value of a column once."""
    coded = pc.dictionary_encode(column)
    words = pa.array([text(v) for v in coded.dictionary.to_pylist()], pa.string())
    return pl.Series(name, words.take(coded.indices), dtype=pl.String)
