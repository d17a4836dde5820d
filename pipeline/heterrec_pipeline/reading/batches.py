"""What every reader yields: raw columns, the number of each row, and the rows that are no rows or only half ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_schemas.errors import SchemaMismatchError, suggest
from heterrec_schemas.rejects import Reason


class BadRow(NamedTuple):
    """A row that is no row, or not a whole one: its number in the file, why, and its text."""

    row: int
    reason: Reason
    text: str


class ReadBatch(NamedTuple):
    """Some rows of one file.

    Attributes:
        table: n rows of raw columns.
        rows: [n] int64, each row's number from 0 within its file.
        bad: rows that are in no table.
        short: rows of the table that ended early; the cells that they lack are null.
    """

    table: pa.Table
    rows: npt.NDArray[np.int64]
    bad: list[BadRow]
    short: Sequence[BadRow] = ()


def check_columns(columns: Sequence[str], names: Sequence[str], file: str) -> None:
    """Hold the wanted columns against those of a file.

    Raises:
        SchemaMismatchError: the file lacks a wanted column, or has it twice.
    """
    for column in columns:
        if column not in names:
            raise missing_column(column, names, file)
        if names.count(column) > 1:
            raise SchemaMismatchError(
                f"{file} has the column {column!r} {names.count(column)} times",
                expected="each column once",
                todo="Rename or drop one of them.",
            )


def missing_column(column: str, known: Sequence[str], file: str) -> SchemaMismatchError:
    """The error of a column that a file lacks."""
    return SchemaMismatchError(f"{file} has no column {column!r}", todo=suggest(column, known))
