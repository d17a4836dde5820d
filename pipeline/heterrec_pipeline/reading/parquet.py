"""Parquet: the requested columns of some row groups, in batches of bounded size."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import ReadBatch, check_columns
from heterrec_pipeline.reading.files import Split, unreadable

BATCH_BYTES = 16 * 2**20
"""Approximate uncompressed bytes per batch."""
MAX_ROWS = 262_144
"""Maximum number of rows per batch."""
_NULL_VECTORS = "Expected all lists to be of size"
"""Arrow's error for fixed-size lists with nulls."""


def schema(split: Split) -> pa.Schema:
    """The Arrow schema of the split's file.

    Raises:
        DataError: the file is truncated or not Parquet.
    """
    try:
        with storage.open_arrow(split.file.path, mapped=False) as handle:
            return pq.read_schema(handle)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(split.file, error) from None


def read(split: Split, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The requested columns of a split, in batches of about 16 MB.

    Raises:
        SchemaMismatchError: the file lacks a column, or has it twice.
        DataError: the file cannot be read.
    """
    row = split.first_row
    try:
        with storage.open_arrow(split.file.path, mapped=False) as handle:
            file = pq.ParquetFile(handle)
            names = file.schema_arrow.names
            check_columns(columns, names, split.file.name)
            batches = file.iter_batches(
                batch_size=_batch_rows(file, columns),
                columns=list(columns),
                row_groups=None if split.row_groups is None else list(split.row_groups),
            )
            for record in batches:
                rows = np.arange(row, row + record.num_rows, dtype=np.int64)
                row += record.num_rows
                yield ReadBatch(pa.Table.from_batches([record]).select(list(columns)), rows, [])
    except (pa.ArrowException, OSError) as error:
        if _NULL_VECTORS not in str(error):
            raise unreadable(split.file, error) from None
        yield from _by_polars(split, columns, row)


def _by_polars(split: Split, columns: Sequence[str], row: int) -> Iterator[ReadBatch]:
    """The rows from `row` on, read by polars, since Arrow's reader fails on fixed-size lists with nulls."""
    path = split.file.path
    source = storage.path_or_content(path)
    with storage.open_arrow(path, mapped=False) as handle:
        file = pq.ParquetFile(handle)
        groups = range(file.num_row_groups) if split.row_groups is None else split.row_groups
        end = split.first_row + sum(file.metadata.row_group(g).num_rows for g in groups)
        step = _batch_rows(file, columns)
    while row < end:
        count = min(step, end - row)
        frame = pl.scan_parquet(source).select(list(columns)).slice(row, count).collect()
        yield ReadBatch(frame.to_arrow(), np.arange(row, row + count, dtype=np.int64), [])
        row += count


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
