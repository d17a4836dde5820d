"""The batches that every reader yields: raw columns, row numbers, and malformed rows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.looks_like import other_header, without_other_letters
from heterrec_schemas.errors import SchemaMismatchError, suggest
from heterrec_schemas.rejects import Reason


class BadRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        row: its number in the file.
        reason: the reason.
        text: its text, or that of the cells that are the reason; None if it may contain what the spec erases or hashes.
        column: the column whose value is the reason; empty for a malformed row.
        texts: of a row for which an expression fails, the cleaned texts of its other columns, which may be erased keys.
    """

    row: int
    reason: Reason
    text: str | None
    column: str = ""
    texts: Mapping[str, str] = MappingProxyType({})


BadText = Mapping[str, Mapping[int, str | None]]
"""Cells that are not UTF-8, by column: number of the row to the cell's text, with its bad bytes escaped (`\\xe9`); None if it
may contain what the spec erases or hashes."""


Columns = Sequence[str] | Callable[[pa.Schema], Sequence[str]]
"""The columns to read of a file, or a function that names them by the columns of the file."""


class ReadBatch(NamedTuple):
    """A batch of rows of one file.

    Attributes:
        table: n rows of raw columns, each a single array. A reader may yield a table, without the columns that the file
            lacks; `read_split` converts it.
        rows: [n] int64, the number of each row in its file, from 0.
        bad: malformed rows, and rows for which an expression fails, which are not in the table.
        short: rows of the table with too few fields; their missing cells are null.
        bad_text: cells that are not UTF-8; they are null in the table.
        erased: number of rows that were removed because the spec erases their key.
        filtered: number of rows that were removed because the `where` of their source is not true for them.
    """

    table: pa.RecordBatch | pa.Table
    rows: npt.NDArray[np.int64]
    bad: list[BadRow]
    short: Sequence[BadRow] = ()
    bad_text: BadText = MappingProxyType({})
    erased: int = 0
    filtered: int = 0

    @property
    def read(self) -> int:
        """Number of rows that were read, those that are not in the table included."""
        return len(self.rows) + len(self.bad) + self.erased + self.filtered


def without_texts(batch: ReadBatch, columns: Collection[str]) -> ReadBatch:
    """A batch without the texts of malformed rows, and of cells of some columns that are not UTF-8."""
    return batch._replace(
        bad=[b._replace(text=None) for b in batch.bad],
        short=[b._replace(text=None) for b in batch.short],
        bad_text={
            column: dict.fromkeys(cells) if column in columns else cells
            for column, cells in batch.bad_text.items()
        },
    )


def one_chunk(table: pa.RecordBatch | pa.Table, column: str) -> pa.Array:
    """A column of a table as one array."""
    cells = table[column]
    if isinstance(cells, pa.ChunkedArray) and cells.num_chunks == 1:
        return cells.chunk(0)  # `combine_chunks` would copy it
    while isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    return cells


def columns_in(file: InputFile, columns: Columns, schema: pa.Schema) -> list[str]:
    """The requested columns that a file has, of all of its columns.

    Raises:
        SchemaMismatchError: the file lacks a required column, or has a requested one twice.
    """
    names = schema.names
    wanted = columns(schema) if callable(columns) else columns
    optional = file.required is not None
    found = [c for c in wanted if not optional or c in names or c in (file.required or ())]
    # The first line of a CSV file without a header is data, perhaps keys that the spec erases.
    check_columns(found, names, file.name, show_names=file.format != "csv")
    return found


def check_columns(
    columns: Sequence[str], names: Sequence[str], file: str, *, show_names: bool = True
) -> None:
    """Check that a file has each requested column once.

    Args:
        columns: the requested columns.
        names: the columns of the file.
        file: its name.
        show_names: whether the error may repeat columns that are not requested.

    Raises:
        SchemaMismatchError: the file lacks a requested column, or has it twice.
    """
    for column in columns:
        if column not in names:
            known = names if show_names else without_other_letters(column, names)
            raise SchemaMismatchError(
                f"{file} has no column {column!r}",
                todo=other_header(names, lambda _: not show_names) or suggest(column, known),
            )
        if names.count(column) > 1:
            raise SchemaMismatchError(
                f"{file} has the column {column!r} {names.count(column)} times",
                expected="each column once",
                todo="Rename or drop one of them.",
            )
