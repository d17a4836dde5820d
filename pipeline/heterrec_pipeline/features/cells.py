"""Encoded columns and bad cells, used by all feature kinds."""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_schemas.errors import DataError
from heterrec_schemas.rejects import VALUE_CHARACTERS, Reason
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import Seen, value_text


class BadCell(NamedTuple):
    """A rejected cell: its position in the batch, the reason, and its text."""

    position: int
    reason: Reason
    value: str | None


@dataclass(frozen=True)
class ParsedColumn:
    """The values of a column of n raw cells.

    Attributes:
        values: n cells; null where there is no usable value, but NaN for numbers. Texts are a dictionary, or lists of it
            for a multivalued feature; numbers are float64; vectors are fixed-size lists of float32.
        seen: the kinds of the values (categorical features only).
        bad: the bad cells.
        erased: whether a value was left out because the spec erases it.
    """

    values: pa.Array
    seen: Seen
    bad: list[BadCell]
    erased: bool = False


@dataclass(frozen=True)
class EncodedColumn:
    """Tokens of a batch of n rows, and the number of rows with a value outside the vocabulary."""

    tokens: pa.Array
    oov_rows: int


def cell_text(value: object) -> str | None:
    """Text of a raw cell for `rejects/`, cut to 200 characters."""
    if value is None:
        return None
    if isinstance(value, str):
        return value[:VALUE_CHARACTERS]
    try:
        text = value_text(value)
    except TypeError:
        text = str(value)
    return None if text is None else text[:VALUE_CHARACTERS]


def cell_at(column: pa.Array | pa.ChunkedArray, position: int) -> str | None:
    """`cell_text` of one cell of a column; also of dates and times that Python has not."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        text, _ = column_text(pa.array([column[position].value], column.type))
        return None if text[0] is None else str(text[0])
    return cell_text(column[position].as_py())


def missing_rows(tokens: pa.Array) -> int:
    """Number of missing rows of a token column: those with first token 1."""
    if pa.types.is_list(tokens.type):
        firsts = pl.Series(tokens).list.first()
    elif pa.types.is_fixed_size_list(tokens.type):
        width = tokens.type.list_size
        firsts = pl.Series(tokens.flatten()).gather_every(width)
    else:
        firsts = pl.Series(tokens)
    return int((firsts == 1).sum())


def all_missing(name: str, column: str, where: str, detail: str = "") -> DataError:
    """The error for a feature without any usable value."""
    return DataError(
        f"feature {name!r}: every value of column {column!r} in {where} is missing{detail}",
        expected="at least one usable value",
        todo="Check the column and missing_values, or remove the feature from the spec.",
    )
