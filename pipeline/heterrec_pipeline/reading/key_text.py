"""The texts of keys."""

import math
from collections.abc import Sequence

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.value_columns import column_text, without_missing
from heterrec_schemas.values import EXACT_FLOAT, Seen


def key_text(
    column: pa.Array,
    name: str,
    file: str,
    missing_values: Sequence[str] = (),
    *,
    quoted: bool = True,
) -> tuple[pl.Series, Seen]:
    """The texts of a key column, null where they are missing or listed as missing, and the kinds of its values.

    Args:
        column: the cells.
        name: the column's name in errors.
        file: the name of their file in errors.
        missing_values: further texts that mean a missing key.
        quoted: whether errors may quote a cell.

    Raises:
        SchemaMismatchError: the type cannot be a key, or floats have fractions or are too large to be exact.
    """
    text, seen = column_text(column, name)
    if (large := _inexact(column)) is not None:
        raise SchemaMismatchError(
            f"{file}: key column {name!r} holds floats that are too large to be exact",
            got=f"{large:.0f}" if quoted else None,
            expected="integers or text, or floats below 2^53",
            todo="Ids that were read as floats have lost their last digits. Write the keys as integers or text.",
        )
    if seen & Seen.FRACTION:
        odd = next(t for t in text.drop_nulls() if "." in t or "e" in t or "n" in t)
        raise SchemaMismatchError(
            f"{file}: key column {name!r} holds floats with fractions",
            got=odd if quoted else None,
            expected="whole numbers or text",
            todo="Write the keys as integers or text.",
        )
    return without_missing(text, missing_values), seen


def _inexact(column: pa.Array) -> float | None:
    """The largest whole float beyond the range in which every integer is a float; None if there is none."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    if not pa.types.is_floating(column.type):
        return None
    largest = pc.max(pc.abs(column.cast(pa.float64()))).as_py()
    return largest if largest is not None and EXACT_FLOAT <= largest < math.inf else None
