"""Files of ids: text with one id per line, or a column of CSV or Parquet; .gz and .zst may follow the suffix."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from heterrec_model.recommending.history import Key
from heterrec_schemas.errors import CallError, DataError, suggest

ITEM_ID = "item_id"
BATCH = 65_536
"""Number of rows read at a time."""
_PACKED = {".gz": "gzip", ".zst": "zstd"}


def read_ids(path: str | Path, column: str = ITEM_ID) -> list[Key]:
    """The ids of a file.

    Raises:
        CallError: there is no such file.
        DataError: it cannot be read, or an id is missing.
    """
    source = Path(path)
    if not source.is_file():
        raise CallError(f"there is no file {source}", expected="a file of ids")
    found: list[Key] = []
    with reading(source):
        for line, value in rows(source, column):
            if value is None:
                raise DataError(f"{source}, line {line}", got="no id")
            found.append(value)
    return found


@contextmanager
def reading(source: Path) -> Iterator[None]:
    """Turn errors of reading a file into a DataError."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, EOFError, OSError) as error:
        raise DataError(f"{source} cannot be read: {error}") from None


def suffix_of(source: Path) -> str:
    """The suffix of a file without .gz and .zst; empty if there is none."""
    suffixes = [s for s in source.suffixes if s not in _PACKED]
    return suffixes[-1] if suffixes else ""


def rows(source: Path, column: str) -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of the rows: a column of CSV or Parquet, or the lines of any other file, blank ones left out.

    Raises:
        DataError: there is no such column.
    """
    suffix = suffix_of(source)
    if suffix == ".parquet":
        file = pq.ParquetFile(source)
        _check_column(source, file.schema_arrow.names, column)
        yield from _numbered(file.iter_batches(BATCH, columns=[column]), column, 1)
        return
    with pa.input_stream(str(source), compression=_PACKED.get(source.suffix)) as stream:
        if suffix == ".csv":
            types = {column: pa.string()}
            options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
            reader = pa.csv.open_csv(stream, convert_options=options)
            _check_column(source, reader.schema.names, column)
            yield from _numbered(reader, column, 2)  # after the header
            return
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), 1):
            if text := line.strip():
                yield number, text


def _numbered(batches: Any, column: str, number: int) -> Iterator[tuple[int, Any]]:
    for batch in batches:
        for value in batch.column(column).to_pylist():
            yield number, value
            number += 1


def _check_column(source: Path, names: Sequence[str], column: str) -> None:
    if column not in names:
        raise DataError(f"{source} has no column {column}", todo=suggest(column, names))
