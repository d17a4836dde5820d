"""CSV: every cell is text. A row with too many fields is rejected; a row with too few gets nulls at its end."""

import csv
import io
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from heterrec_pipeline.reading.batches import BadRow, ReadBatch, check_columns
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.looks_like import escaped_quote
from heterrec_pipeline.reading.text import BLOCK, BOM, TextStream, bad_utf8
from heterrec_schemas.errors import DataError
from heterrec_schemas.rejects import Reason

_STRADDLING = f"a row is longer than {BLOCK // 2**20} MB; is there a quote that is never closed?"
_UNCLOSED = "a quote is never closed: everything after it is one cell"
Rows = npt.NDArray[np.int64]


def header(file: InputFile) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: the file is empty or not text, or a quote in its beginning is escaped by a backslash.
    """
    with TextStream(file) as stream:
        start = stream.read(2**20).removeprefix(BOM)
    try:
        text = start.decode("utf-8", errors="strict" if len(start) < 2**20 else "ignore")
    except UnicodeDecodeError:
        raise bad_utf8(file) or unreadable(file, "not UTF-8") from None
    if (line := escaped_quote(text)) is not None:
        raise DataError(
            f"{file.name} escapes quotes by backslashes",
            got=text.splitlines()[line - 1][:80],
            expected='quotes inside a quoted cell doubled: "say ""hi"" now"',
            todo="Export it with the quote as escape character (Spark: escape='\"'), or as Parquet.",
        )
    try:
        names = next(filter(None, csv.reader(io.StringIO(text, newline=""))), None)
    except csv.Error as error:
        raise unreadable(file, error) from None
    if names and any("\0" in name for name in names):
        raise unreadable(file, "NUL characters in the header", "it is UTF-16 (save it as UTF-8)")
    if names is None:
        raise DataError(
            f"{file.name} is empty",
            got="no header line",
            expected="a first line with the column names",
            todo="Write the header, or set empty_files: skip on its source.",
        )
    return names


def read(file: InputFile, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The requested columns of a CSV file as text, in batches.

    Raises:
        SchemaMismatchError: the header lacks a column, or has it twice.
        DataError: the file cannot be read.
    """
    names = header(file)
    check_columns(columns, names, file.name)
    ragged = _RaggedRows(names, columns)
    with TextStream(file) as stream:
        yield from _batches(file, _WithMark(stream, names, columns), columns, ragged)


class _WithMark(io.RawIOBase):
    """A CSV stream with an extra last row; if the parser does not return this row, a quote is not closed.

    No block ends between the two characters of a line end: the parser drops a line feed at the beginning of a block if the
    block before ends with a carriage return, even inside quotes.
    """

    MARK = "\x1c\x1f"

    def __init__(self, stream: TextStream, names: Sequence[str], columns: Sequence[str]) -> None:
        self._stream = stream
        cells = [self.MARK if name == columns[0] else "" for name in names]
        self._tail = f"\n{','.join(cells)}\n".encode()
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "the parser reads blocks"
        got = self._held + self._stream.read(size - len(self._held))
        room = size - len(got)
        got, self._tail = got + self._tail[:room], self._tail[room:]
        self._held = b"\r" if got.endswith(b"\r") and size > 1 else b""
        return got.removesuffix(self._held)

    def without(self, record: pa.RecordBatch) -> pa.RecordBatch:
        """The record without the extra row, if it ends with it."""
        last = record.num_rows - 1
        return record.slice(0, last) if record.column(0)[last].as_py() == self.MARK else record


class _RaggedRows:
    """Collects the rows with a wrong number of fields, which the parser skips.

    The parser reads ahead and calls this object from another thread.
    """

    def __init__(self, names: Sequence[str], columns: Sequence[str]) -> None:
        self._at = [names.index(c) for c in columns]
        self._columns = columns
        self.bad: list[BadRow] = []
        self.short: list[BadRow] = []
        self.ahead: list[int] = []
        """Numbers of the collected rows after the last row returned; the parser is some blocks ahead."""
        self._cells: list[list[str | None]] = []
        self._lock = threading.Lock()

    def __call__(self, row: pacsv.InvalidRow) -> str:
        # The header is physical row 1.
        text = f"{row.actual_columns} fields, expected {row.expected_columns}: {row.text}"
        bad = BadRow(row.number - 2, Reason.MALFORMED_ROW, text)
        with self._lock:
            self.ahead.append(bad.row)
            if row.actual_columns > row.expected_columns:
                self.bad.append(bad)
            else:
                cells = _cells(row.text)
                self.short.append(bad)
                self._cells.append([cells[k] if k < len(cells) else None for k in self._at])
        return "skip"

    def numbers(self, count: int, first: int) -> tuple[Rows, int]:
        """Numbers of the next `count` rows of the table, from `first` on, and the `first` of the next call."""
        with self._lock:
            rows = np.arange(first, first + count + len(self.ahead), dtype=np.int64)
            rows = rows[~np.isin(rows, np.array(self.ahead, dtype=np.int64))][:count]
            following = int(rows[-1]) + 1 if count else first
            self.ahead = [row for row in self.ahead if row >= following]
        return rows, following

    def take(self, table: pa.Table, rows: Rows) -> ReadBatch:
        """The batch with its short rows; resets the collection."""
        with self._lock:
            bad, short, cells = self.bad, self.short, self._cells
            self.bad, self.short, self._cells = [], [], []
        if short:
            arrays = [pa.array(c, pa.string()) for c in zip(*cells, strict=True)]
            table = pa.concat_tables([table, pa.table(arrays, names=list(self._columns))])
            rows = np.append(rows, np.array([b.row for b in short], dtype=np.int64))
        return ReadBatch(table, rows, bad, short)


def _batches(
    file: InputFile, stream: _WithMark, columns: Sequence[str], ragged: _RaggedRows
) -> Iterator[ReadBatch]:
    next_row = 0
    complete = False
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # Rows have numbers only with a single thread.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged),
            convert_options=pacsv.ConvertOptions(
                column_types={c: pa.string() for c in columns},
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
        for parsed in reader:
            record = stream.without(parsed) if parsed.num_rows else parsed
            complete = record.num_rows < parsed.num_rows
            rows, next_row = ragged.numbers(record.num_rows, next_row)
            yield ragged.take(pa.Table.from_batches([record]), rows)
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise unreadable(file, _STRADDLING) from None
        if "Empty CSV" not in str(error):
            raise bad_utf8(file) or unreadable(file, error) from None
    if not complete:
        raise unreadable(file, _UNCLOSED)
    if ragged.bad or ragged.short:
        yield ragged.take(empty(columns), np.empty(0, np.int64))


def empty(columns: Sequence[str]) -> pa.Table:
    """A table of text columns without rows."""
    return pa.table({c: pa.array([], pa.string()) for c in columns})


def _cells(text: str) -> list[str]:
    """The fields of one row; the standard library rejects long ones unless its limit is raised."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    return next(csv.reader(io.StringIO(text, newline="")), [])
