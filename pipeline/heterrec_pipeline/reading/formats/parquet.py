"""Parquet: the requested columns of some row groups, in batches of bounded size."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import Columns, ReadBatch, columns_in
from heterrec_pipeline.reading.files import Split, opened, unreadable
from heterrec_pipeline.reading.formats.utf8 import without_bad_text

BATCH_BYTES = 16 * 2**20
"""Approximate uncompressed bytes per batch."""
MAX_ROWS = 262_144
"""Maximum number of rows per batch."""
MAX_BYTES = 256 * 2**20
"""Maximum number of bytes per batch of rows with long values, some of which may stand once in the file for many rows."""
_ARROW_SCHEMA = b"\x0cARROW:schema"
"""Length and text of the footer's key under which Arrow stores its own types."""


def schema_and_rows(split: Split) -> tuple[pa.Schema, int]:
    """The Arrow schema of the split's file, and the number of its rows.

    Raises:
        DataError: the file is truncated or not Parquet.
    """
    with opened(split.file) as handle:
        file = pq.ParquetFile(handle)
        return without_tensors(file.schema_arrow), file.metadata.num_rows


def read(split: Split, columns: Columns) -> Iterator[ReadBatch]:
    """The requested columns of a split that it has, in batches of about 16 MB.

    Raises:
        SchemaMismatchError: the file lacks a required column, or has a requested one twice.
        DataError: the file cannot be read.
    """
    row = split.first_row
    try:
        with storage.open_arrow(split.file.path, mapped=False) as handle:
            file = pq.ParquetFile(handle)
            expected = _rows_of(file.metadata, split)
            if not expected:
                return
            columns = columns_in(split.file, columns, without_tensors(file.schema_arrow))
            file = _with_lists(file, handle, columns)
            batches = file.iter_batches(
                batch_size=_most_rows(file, columns, handle, split, _batch_rows(file, columns)),
                columns=columns,
                row_groups=None if split.row_groups is None else list(split.row_groups),
            )
            for record in batches:
                rows = np.arange(row, row + record.num_rows, dtype=np.int64)
                row += record.num_rows
                cells = _stored(record.select(columns))
                table, bad_text = without_bad_text(cells, rows)
                yield ReadBatch(table, rows, [], bad_text=bad_text)
            if row - split.first_row != expected:
                found = f"{row - split.first_row:,} rows were read, its end counts {expected:,}"
                raise unreadable(split.file, found)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(split.file, error) from None


def _rows_of(meta: pq.FileMetaData, split: Split) -> int:
    """The number of rows of a split by the footer of its file, which has that of all rows and those of row groups."""
    of_groups = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
    if sum(of_groups) != meta.num_rows:
        found = f"its end counts {meta.num_rows:,} rows, and {sum(of_groups):,} in its row groups"
        raise unreadable(split.file, found)
    return sum(of_groups if split.row_groups is None else (of_groups[k] for k in split.row_groups))


def _with_lists(
    file: pq.ParquetFile, handle: pa.NativeFile, columns: Sequence[str]
) -> pq.ParquetFile:
    """The file; with a fixed-size list among the columns, by the types of Parquet alone.

    Parquet has only lists of any length. Arrow makes fixed-size lists of them because its own types are stored in the footer,
    but fails where a list is null.
    """
    if not any(f.name in columns and _has_fixed_size_list(f.type) for f in file.schema_arrow):
        return file
    size = handle.size()
    handle.seek(size - 8)
    length = int.from_bytes(handle.read(4), "little") + 8
    handle.seek(size - length)
    footer = handle.read(length).replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower())
    return pq.ParquetFile(handle, metadata=pq.read_metadata(pa.BufferReader(b"PAR1" + footer)))


def without_tensors(schema: pa.Schema) -> pa.Schema:
    """The schema with tensors of a fixed shape as the lists that they are stored as."""
    return pa.schema(
        [
            f.with_type(f.type.storage_type) if isinstance(f.type, pa.FixedShapeTensorType) else f
            for f in schema
        ]
    )


def _stored(record: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose tensors are lists."""
    for k, field in enumerate(record.schema):
        if isinstance(field.type, pa.FixedShapeTensorType):
            record = record.set_column(k, field.name, record.column(k).storage)
    return record


def _has_fixed_size_list(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind) or isinstance(kind, pa.FixedShapeTensorType):
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
    fewest = min(1024, max(1, MAX_BYTES * rows // max(size, 1)))
    return int(min(MAX_ROWS, max(fewest, BATCH_BYTES * rows // max(size, 1))))


def _most_rows(
    file: pq.ParquetFile, columns: Sequence[str], handle: pa.NativeFile, split: Split, rows: int
) -> int:
    """Number of rows, at most `rows`, whose values fit into `MAX_BYTES`, even if each is the longest one of its dictionary.

    The footer has the size of a dictionary, but not of its values in all rows. Arrow writes no statistics for columns with
    a first or last value of more than 4 KB: only dictionaries of columns without statistics are looked into, and only if a
    value as large as all of the column in its row group would be too long.
    """
    meta = file.metadata
    groups = range(meta.num_row_groups) if split.row_groups is None else split.row_groups
    most = min(rows, max(1, sum(meta.row_group(k).num_rows for k in groups)))
    leaves = (meta.schema.column(c) for c in range(meta.num_columns))
    texts = [
        c
        for c, leaf in enumerate(leaves)
        if leaf.physical_type == "BYTE_ARRAY" and leaf.path.split(".")[0] in columns
    ]
    for k in groups if texts else ():
        group = meta.row_group(k)
        chunks = (group.column(c) for c in texts)
        names = [
            chunk.path_in_schema
            for chunk in chunks
            if chunk.has_dictionary_page
            and chunk.total_uncompressed_size * most > MAX_BYTES
            and not _has_bounds(chunk.statistics)
        ]
        if names:
            most = min(most, max(1, MAX_BYTES // max(1, _longest(handle, meta, names, k))))
    return int(most)


def _has_bounds(statistics: pq.Statistics | None) -> bool:
    return statistics is not None and bool(statistics.has_min_max)


def _longest(handle: pa.NativeFile, meta: pq.FileMetaData, names: list[str], group: int) -> int:
    """The bytes of the longest value of the dictionaries of some columns; 0 if none is read."""
    file = pq.ParquetFile(handle, metadata=meta, read_dictionary=names)
    longest = 0
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    for record in file.iter_batches(batch_size=1, row_groups=[group], columns=tops):
        for column in record.columns:
            while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                column = column.flatten()
            if pa.types.is_dictionary(column.type) and len(column.dictionary):
                found = pc.max(pc.binary_length(column.dictionary)).as_py()
                longest = max(longest, int(found or 0))
        break
    return longest
