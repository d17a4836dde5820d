"""NumPy files: row k of an array is the vector of row k of a file of keys; arrays of one dimension are keys."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from tokenize import TokenError
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import Columns, ReadBatch, columns_in
from heterrec_pipeline.reading.files import InputFile, Split, split_file, unreadable
from heterrec_schemas.errors import DataError

VECTOR, KEY = "vector", "key"
"""The columns of an array of two dimensions, and of one."""
BATCH_BYTES = 16 * 2**20
"""Approximate bytes per batch."""
Read = Callable[[Split, Columns], Iterator[ReadBatch]]


@dataclass(frozen=True)
class _Array:
    """An array in a file: its shape, type, and the position of its first byte."""

    handle: pa.NativeFile
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int

    @property
    def width(self) -> int:
        """Bytes per row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def column(self) -> tuple[str, pa.DataType]:
        """The name and the type of the column that the array is."""
        kind = pa.string() if self.dtype.kind == "U" else pa.from_numpy_dtype(self.dtype)
        return (KEY, kind) if len(self.shape) == 1 else (VECTOR, pa.list_(kind, self.shape[1]))

    def rows(self, first: int, count: int) -> Any:
        """Rows of the array."""
        self.handle.seek(self.start + first * self.width)
        data = self.handle.read(count * self.width)
        if len(data) < count * self.width:
            raise EOFError("the file is shorter than its header says")
        found = np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])
        return found.astype(self.dtype.newbyteorder("="), copy=False)


def types(file: InputFile) -> dict[str, pa.DataType]:
    """The columns that an array itself has.

    Raises:
        DataError: the file is damaged, or has something else than numbers or texts of one or two dimensions.
    """
    with _opened(file) as array:
        return dict([array.column])


def row_count(file: InputFile) -> int:
    """The number of rows of an array; errors as in `types`."""
    with _opened(file) as array:
        return array.shape[0]


def read(file: InputFile, columns: Columns, read_keys: Read) -> Iterator[ReadBatch]:
    """The rows of an array, with the columns of its file of keys.

    Args:
        file: the file.
        columns: the requested columns.
        read_keys: reads columns of the file of keys.

    Raises:
        SchemaMismatchError: neither file has a column.
        DataError: a file cannot be read, or the files have different numbers of rows.
    """
    with _opened(file) as array:
        if file.keys is None:
            yield from _keys(file, array, columns)
        else:
            yield from _vectors(file, file.keys, array, columns, read_keys)


def _keys(file: InputFile, array: _Array, columns: Columns) -> Iterator[ReadBatch]:
    columns_in(file, columns, pa.schema([array.column]))
    each = max(1, BATCH_BYTES // max(1, array.width))
    for first in range(0, array.shape[0], each):
        cells = array.rows(first, min(each, array.shape[0] - first))
        rows = np.arange(first, first + len(cells), dtype=np.int64)
        yield ReadBatch(pa.table({KEY: pa.array(cells)}), rows, [])


def _vectors(
    file: InputFile, keys: InputFile, array: _Array, columns: Columns, read_keys: Read
) -> Iterator[ReadBatch]:
    chosen: list[str] = []

    def of_keys(schema: pa.Schema) -> list[str]:
        every = schema.append(pa.field(*array.column))
        chosen[:] = columns(every) if callable(columns) else columns
        return [c for c in chosen if c != VECTOR]

    count = 0
    for split in split_file(keys):
        for batch in read_keys(split, of_keys):
            numbers = [*batch.rows.tolist(), *(bad.row for bad in batch.bad)]
            count = max([count, *(number + 1 for number in numbers)])
            if count > array.shape[0]:
                raise _uneven(file, keys, array, f"at least {count:,}")
            yield from _with_vectors(batch, array) if VECTOR in chosen else [batch]
    if count < array.shape[0]:
        raise _uneven(file, keys, array, f"{count:,}")


def _with_vectors(batch: ReadBatch, array: _Array) -> Iterator[ReadBatch]:
    """Pieces of a batch of keys of about 16 MB, with their vectors."""
    each = max(1, BATCH_BYTES // max(1, array.width))
    for at in range(0, max(1, len(batch.rows)), each):
        rows = batch.rows[at : at + each]
        values = np.empty((len(rows), array.shape[1]), array.dtype.newbyteorder("="))
        # Short rows of a CSV file are at the end of a batch: the others are neighbours.
        starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1).tolist()
        for start, stop in pairwise([*starts, len(rows)]):
            values[start:stop] = array.rows(int(rows[start]), stop - start)
        cells = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), array.shape[1])
        inside = set(rows.tolist()) if batch.short or batch.bad_text else set()
        yield batch._replace(
            table=batch.table.slice(at, each).append_column(VECTOR, cells),
            rows=rows,
            bad=batch.bad if at == 0 else [],
            short=[b for b in batch.short if b.row in inside],
            bad_text={
                column: {row: text for row, text in texts.items() if row in inside}
                for column, texts in batch.bad_text.items()
            },
        )


def _uneven(file: InputFile, keys: InputFile, array: _Array, rows: str) -> DataError:
    return DataError(
        f"{file.name} and {keys.name} have different numbers of rows",
        got=f"{array.shape[0]:,} and {rows}",
        expected="row k of the keys for vector k",
        todo="Write both files from the same rows.",
    )


@contextmanager
def _opened(file: InputFile) -> Iterator[_Array]:
    try:
        with storage.open_arrow(file.path, mapped=False) as handle:
            yield _checked(file, _header(handle))
    except (EOFError, ValueError, OSError, TokenError, pa.ArrowException) as error:
        raise unreadable(file, error) from None


def _header(handle: pa.NativeFile) -> tuple[_Array, bool]:
    """The array of a file, and whether its first dimension varies fastest."""
    stream = cast(IO[bytes], handle)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"unknown version {version} of .npy")
    shape, by_column, dtype = read_header(stream)
    return _Array(handle, shape, dtype, handle.tell()), by_column


def _checked(file: InputFile, found: tuple[_Array, bool]) -> _Array:
    array, by_column = found
    text = array.dtype.kind == "U" and len(array.shape) == 1
    if (array.dtype.kind in "iuf" or text) and len(array.shape) in (1, 2) and not by_column:
        return array
    raise DataError(
        f"{file.name} has no vectors",
        got=f"{array.dtype} of shape {array.shape}{', by columns' if by_column else ''}",
        expected="numbers of shape [n, dim] by rows, or keys of shape [n]",
        todo="Save it by np.save(path, np.ascontiguousarray(vectors, dtype=np.float32)).",
    )
