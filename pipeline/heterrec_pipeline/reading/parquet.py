"""Parquet: the requested columns of some row groups, in batches of bounded size."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import ReadBatch, columns_in
from heterrec_pipeline.reading.files import Split, unreadable
from heterrec_pipeline.reading.utf8 import without_bad_text

BATCH_BYTES = 16 * 2**20
"""Approximate uncompressed bytes per batch."""
MAX_ROWS = 262_144
"""Maximum number of rows per batch."""
_ARROW_SCHEMA = b"\x0cARROW:schema"
"""Length and text of the footer's key under which Arrow stores its own types."""


def schema_and_rows(split: Split) -> tuple[pa.Schema, int]:
    """The Arrow schema of the split's file, and the number of its rows.

    Raises:
        DataError: the file is truncated or not Parquet.
    """
    try:
        with storage.open_arrow(split.file.path, mapped=False) as handle:
            file = pq.ParquetFile(handle)
            return file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(split.file, error) from None


def read(split: Split, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The requested columns of a split that it has, in batches of about 16 MB.

    Raises:
        SchemaMismatchError: the file lacks a required column, or has a requested one twice.
        DataError: the file cannot be read.
    """
    row = split.first_row
    try:
        with storage.open_arrow(split.file.path, mapped=False) as handle:
            file = _opened(handle, columns)
            if not file.metadata.num_rows:
                return
            columns = columns_in(split.file, columns, file.schema_arrow.names)
            batches = file.iter_batches(
                batch_size=_batch_rows(file, columns),
                columns=columns,
                row_groups=None if split.row_groups is None else list(split.row_groups),
            )
            for record in batches:
                rows = np.arange(row, row + record.num_rows, dtype=np.int64)
                row += record.num_rows
                table, bad_text = without_bad_text(record.select(columns), rows)
                yield ReadBatch(table, rows, [], bad_text=bad_text)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(split.file, error) from None


def _opened(handle: pa.NativeFile, columns: Sequence[str]) -> pq.ParquetFile:
    """The file; with a fixed-size list among the columns, by the types of Parquet alone.

    Parquet has only lists of any length. Arrow makes fixed-size lists of them because its own types are stored in the footer,
    but fails where a list is null.
    """
    file = pq.ParquetFile(handle)
    if not any(f.name in columns and _has_fixed_size_list(f.type) for f in file.schema_arrow):
        return file
    size = handle.size()
    handle.seek(size - 8)
    length = int.from_bytes(handle.read(4), "little") + 8
    handle.seek(size - length)
    footer = handle.read(length).replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower())
    return pq.ParquetFile(handle, metadata=pq.read_metadata(pa.BufferReader(b"PAR1" + footer)))


def _has_fixed_size_list(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return True
    return any(_has_fixed_size_list(kind.field(k).type) for k in range(kind.num_fields))


def _batch_rows(file: pq.ParquetFile, columns: Sequence[str]) -> int:
    """Number of rows per batch, from the uncompressed size of the columns."""
    meta = file.metadata
    wanted = set(columns)
    size = rows = 0
    for k in range(min(meta.num_row_groups, 4)):
        group = meta.row_group(k)
        rows += group.num_rows
        for c in range(group.num_columns):
            column = group.column(c)
            if column.path_in_schema.split(".")[0] in wanted:
                size += column.total_uncompressed_size
    return int(min(MAX_ROWS, max(1024, BATCH_BYTES * rows // max(size, 1))))
