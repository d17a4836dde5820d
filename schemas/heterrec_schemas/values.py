"""Values as text: one value of any type becomes the cleaned text of vocabularies and keys.

`value_columns.column_text` applies the rules to an Arrow column.
"""

import math
import unicodedata
from datetime import UTC, date, datetime, time
from enum import IntFlag

import pyarrow as pa

# The characters that Python's str.strip() removes; polars keeps U+001C to U+001F.
BLANKS = "".join(chr(c) for c in range(0x3001) if chr(c).isspace())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_PER_DAY = 86_400_000
EXACT_FLOAT = 2.0**53
"""Every integer below it is a float64; above it, neighbouring integers become one float."""


class Seen(IntFlag):
    """Kinds of the non-missing cells of a column; the union over all batches decides between int64 and string."""

    NOTHING = 0
    WHOLE = 1
    """Integers or whole floats that fit into 64 bits."""
    FRACTION = 2
    """Floats with a fraction, or infinite."""
    TEXT = 4
    """Anything else, including integers beyond 64 bits."""

    @property
    def integral(self) -> bool:
        """Whether the column is stored as int64."""
        return self == Seen.WHOLE


def clean_text(text: str) -> str | None:
    """NFC without outer blanks; None if nothing is left."""
    return unicodedata.normalize("NFC", text).strip() or None


def value_text(value: object) -> str | None:
    """The cleaned text of one scalar; None if it is missing (None, NaN, empty).

    Raises:
        TypeError: the type cannot be a category or a key (a list, bytes, a decimal ...).
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return moment.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not text, a number, a boolean, a date or a time")


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text (dictionaries of text included)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_binary(kind: pa.DataType) -> bool:
    """Whether an Arrow type is bytes of any layout."""
    t = pa.types
    return bool(
        t.is_binary(kind)
        or t.is_large_binary(kind)
        or t.is_binary_view(kind)
        or t.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list of any layout."""
    t = pa.types
    return bool(
        t.is_list(kind)
        or t.is_large_list(kind)
        or t.is_fixed_size_list(kind)
        or t.is_list_view(kind)
        or t.is_large_list_view(kind)
    )


def is_scalar(kind: pa.DataType) -> bool:
    """Whether an Arrow type can be a category or a key: text, integer, whole decimal, boolean, float, date, time."""
    t = pa.types
    if t.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        is_text(kind)
        or t.is_integer(kind)
        or is_whole_decimal(kind)
        or t.is_boolean(kind)
        or t.is_floating(kind)
        or t.is_date(kind)
        or t.is_time(kind)
        or t.is_timestamp(kind)
        or t.is_null(kind)
    )


def is_whole_decimal(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a decimal without fraction digits: an integer of some databases."""
    return bool(pa.types.is_decimal(kind) and kind.scale == 0)
