"""CSV: every cell is text. A row with too many fields is rejected; a row with too few gets nulls at its end."""

import csv
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from heterrec_pipeline.reading.batches import BadRow, Columns, ReadBatch, columns_in
from heterrec_pipeline.reading.files import InputFile, unreadable, without_empty
from heterrec_pipeline.reading.formats.dialect import Dialect, Readable
from heterrec_pipeline.reading.formats.text import BLOCK, BOM, bad_utf8, check_beginning
from heterrec_pipeline.reading.looks_like import escaped_quote
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.rejects import Reason

_STRADDLING = f"a row is longer than {BLOCK // 2**20} MB; is there a quote that is never closed?"
_UNCLOSED = "a quote is never closed: everything after it is one cell (quote: null in the source makes quotes plain text)"
_ENDS_ESCAPED = "it ends with an escape character or inside a quoted cell"
_BEGINNING = 2**20
"""Bytes of the beginning that the header is looked for in."""
_FIRST_ROWS = 100
"""Rows of a file without a header of which one should have a cell for each name."""
Rows = npt.NDArray[np.int64]


def schema(file: InputFile) -> pa.Schema:
    """The columns of a CSV file, which are text; errors as in `header`."""
    return pa.schema([(name, pa.string()) for name in header(file)])


def header(file: InputFile) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: the file is empty or not text, or a quote in its beginning is escaped by a backslash.
        SchemaMismatchError: the declared names of a file without a header are more or fewer than its columns.
    """
    dialect = Dialect.of(file)
    with closing(dialect.open()) as stream:
        start = stream.read(_BEGINNING).removeprefix(BOM)
    check_beginning(file, start)
    whole = len(start) < _BEGINNING
    try:
        text = start.decode("utf-8", errors="strict" if whole else "ignore")
    except UnicodeDecodeError:
        raise bad_utf8(file) or unreadable(file, "not UTF-8") from None
    _check_quotes(dialect, text)
    count = 1 if dialect.source.header else _FIRST_ROWS
    try:
        rows = list(islice(filter(None, dialect.reader(text)), count))
    except csv.Error as error:
        rows = []
        if dialect.source.header:
            raise unreadable(file, error) from None
    if rows and any("\0" in cell for cell in rows[0]):
        what = "it is UTF-16 (write encoding: utf-16-le or utf-16-be into the source)"
        raise unreadable(file, "NUL characters in the header", what)
    if dialect.source.names is not None:
        _check_width(dialect, rows if whole else rows[:-1])
        return list(dialect.source.names)
    if not rows:
        raise DataError(
            f"{file.name} is empty",
            got="no header line",
            expected="a first line with the column names",
            todo=f"Write the header, or {without_empty(file)}",
        )
    return [str(name) for name in rows[0]]


def _check_quotes(dialect: Dialect, text: str) -> None:
    """Refuse quotes escaped by backslashes, unless the source declares the escape."""
    if dialect.source.escape is not None or dialect.source.quote != '"':
        return
    if (line := escaped_quote(text, dialect.separator)) is not None:
        raise DataError(
            f"{dialect.file.name} escapes quotes by backslashes",
            got=f"a backslash before a quote in line {line}",
            expected='quotes inside a quoted cell doubled: "say ""hi"" now"',
            todo="Declare it in the source: escape: '\\'",
        )


def _check_width(dialect: Dialect, rows: list[list[str]]) -> None:
    """Refuse names of which none of the first rows has as many cells."""
    names = dialect.source.names or []
    if rows and all(len(row) != len(names) for row in rows):
        raise SchemaMismatchError(
            f"{dialect.file.name}: names does not fit the rows",
            got=f"{len(rows[0])} cells in the first row",
            expected=f"a cell for each of the {len(names)} names",
            todo="Name every column in its order; check delimiter, too.",
        )


def read(file: InputFile, columns: Columns) -> Iterator[ReadBatch]:
    """The requested columns that a CSV file has as text, in batches; if it has none of them, its first column.

    Raises:
        SchemaMismatchError: the header lacks a required column, or has a requested one twice.
        DataError: the file cannot be read.
    """
    dialect = Dialect.of(file)
    found = schema(file)
    names = found.names
    columns = columns_in(file, columns, found) or names[:1]
    ragged = _RaggedRows(dialect, names, columns)
    with closing(dialect.open()) as stream:
        marked = _WithMark(stream, dialect, names, columns)
        yield from _held_back(_batches(dialect, marked, columns, ragged))


class _WithMark(io.RawIOBase):
    """A CSV stream with an extra last row; if the parser does not return this row, a quote is not closed.

    No block ends between the two characters of a line end: the parser drops a line feed at the beginning of a block if the
    block before ends with a carriage return, even inside quotes.
    """

    MARK = "\ue000\ue01c\ue01f"
    """Characters for private use: no part of an ASCII delimiter, quote or escape."""

    def __init__(
        self, stream: Readable, dialect: Dialect, names: Sequence[str], columns: Sequence[str]
    ) -> None:
        self._stream = stream
        cells = [self.MARK if name == columns[0] else "" for name in names]
        self._tail = f"\n{dialect.separator.join(cells)}\n".encode()
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

    def __init__(self, dialect: Dialect, names: Sequence[str], columns: Sequence[str]) -> None:
        self._dialect = dialect
        self._first = 2 if dialect.source.header else 1
        self._null = frozenset(dialect.source.null_values)
        self._at = [names.index(c) for c in columns]
        self._columns = columns
        self.bad: list[BadRow] = []
        self.short: list[BadRow] = []
        self.ahead: list[int] = []
        """Numbers of the collected rows after the last row returned; the parser is some blocks ahead."""
        self._cells: list[list[str | None]] = []
        self._lock = threading.Lock()

    def __call__(self, row: pacsv.InvalidRow) -> str:
        # The first row is physical row 2 if there is a header, else 1.
        shown = self._dialect.original(row.text)
        text = f"{row.actual_columns} fields, expected {row.expected_columns}: {shown}"
        bad = BadRow(row.number - self._first, Reason.MALFORMED_ROW, text)
        with self._lock:
            self.ahead.append(bad.row)
            if row.actual_columns > row.expected_columns:
                self.bad.append(bad)
            else:
                cells = _cells(self._dialect, row.text)
                self.short.append(bad)
                self._cells.append([self._cell(cells, k) for k in self._at])
        return "skip"

    def _cell(self, cells: list[str], k: int) -> str | None:
        return cells[k] if k < len(cells) and cells[k] not in self._null else None

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
    dialect: Dialect, stream: _WithMark, columns: Sequence[str], ragged: _RaggedRows
) -> Iterator[ReadBatch]:
    file, source = dialect.file, dialect.source
    next_row = 0
    complete = False
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # Rows have numbers only with a single thread.
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=BLOCK, column_names=source.names
            ),
            parse_options=_parse_options(dialect, invalid_row_handler=ragged),
            convert_options=pacsv.ConvertOptions(
                column_types={c: pa.string() for c in columns},
                include_columns=list(columns),
                null_values=source.null_values,
                strings_can_be_null=bool(source.null_values),
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
        raise unreadable(file, _UNCLOSED if source.escape is None else _ENDS_ESCAPED)
    if ragged.bad or ragged.short:
        yield ragged.take(empty(columns), np.empty(0, np.int64))


def _held_back(batches: Iterator[ReadBatch]) -> Iterator[ReadBatch]:
    """Each batch after the next one is there, so that a quote that is never closed is found before its cell is used."""
    held = None
    for batch in batches:
        if held is not None:
            yield held
        held = batch
    if held is not None:
        yield held


def empty(columns: Sequence[str]) -> pa.Table:
    """A table of text columns without rows."""
    return pa.table({c: pa.array([], pa.string()) for c in columns})


def _cells(dialect: Dialect, text: str) -> list[str]:
    """The fields of one row; the standard library rejects long ones unless its limit is raised."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    return next(dialect.reader(text), [])


def _parse_options(dialect: Dialect, **more: Any) -> pacsv.ParseOptions:
    return pacsv.ParseOptions(
        delimiter=dialect.separator,
        quote_char=dialect.source.quote or False,
        escape_char=dialect.source.escape or False,
        newlines_in_values=True,
        **more,
    )
