"""CSV: every cell is text; rows with too few or too many fields are set aside."""

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.rejects import Reason

from heterrec_pipeline.reading.batches import Batch, BadRow, missing_column
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.text import BLOCK, BOM, Blocks, bad_utf8


def header(file: InputFile) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: the file is empty or no text.
    """
    with Blocks(file) as stream:
        start = stream.read(2**20).removeprefix(BOM)
    try:
        text = start.decode("utf-8", errors="strict" if len(start) < 2**20 else "ignore")
    except UnicodeDecodeError:
        raise bad_utf8(file) or unreadable(file, "not UTF-8") from None
    names = next(csv.reader(io.StringIO(text, newline="")), None)
    if not names:
        raise DataError(
            f"{file.name} is empty",
            got="no header line",
            expected="a first line with the column names",
            todo="Write the header, or take the file out of source.path.",
        )
    return names


def read(file: InputFile, columns: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns of a CSV file as text, in batches.

    Raises:
        SchemaMismatchError: the header lacks a column, or has it twice.
        DataError: the file cannot be read.
    """
    names = header(file)
    for column in columns:
        if column not in names:
            raise missing_column(column, names, file.name)
        if names.count(column) > 1:
            raise SchemaMismatchError(
                f"{file.name}: the header names the column {column!r} {names.count(column)} times",
                expected="each column once",
            )
    bad: list[BadRow] = []

    def set_aside(row: pacsv.InvalidRow) -> str:
        # The header is physical row 1.
        text = f"{row.actual_columns} fields, expected {row.expected_columns}: {row.text}"
        bad.append(BadRow(row.number - 2, Reason.MALFORMED_ROW, text))
        return "skip"

    with Blocks(file) as stream:
        yield from _batches(file, stream, columns, bad, set_aside)


def _batches(
    file: InputFile, stream: Blocks, columns: Sequence[str], bad: list[BadRow], set_aside: object
) -> Iterator[Batch]:
    next_row = 0
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # Row numbers are known only to a reader of one thread.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
            convert_options=pacsv.ConvertOptions(
                column_types={c: pa.string() for c in columns},
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
        for record in reader:
            rows, next_row = _row_numbers(record.num_rows, next_row, [b.row for b in bad])
            yield Batch(pa.Table.from_batches([record]), rows, list(bad))
            bad.clear()
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise bad_utf8(file) or unreadable(file, error) from None
    if bad:
        yield Batch(empty(columns), np.empty(0, np.int64), list(bad))
        bad.clear()


def empty(columns: Sequence[str]) -> pa.Table:
    """No rows of text."""
    return pa.table({c: pa.array([], pa.string()) for c in columns})


def _row_numbers(
    good: int, first: int, skipped: Sequence[int]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """The numbers of `good` rows from `first` on, past the skipped ones, and the next number."""
    # The parser may run ahead of the batch: only skips before its last row count here.
    rows = np.arange(first, first + good + len(skipped), dtype=np.int64)
    rows = rows[~np.isin(rows, np.array(skipped, dtype=np.int64))][:good]
    after = int(rows[-1]) + 1 if good else first
    return rows, after
