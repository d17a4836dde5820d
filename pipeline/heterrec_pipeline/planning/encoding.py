"""Bytes of Parquet shards: a sample is written to memory as a build writes it, and scaled."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files.shards import ShardWriter, parquet_writer
from heterrec_schemas.tables import ROW_GROUP


def parquet_bytes(
    sample: pa.Table,
    rows: float,
    files: int,
    *,
    row_group: int = ROW_GROUP,
    plain: Sequence[str] = (),
) -> float:
    """What some rows take as Parquet.

    The data grows with the rows; what every row group adds to the footer, and what a file without rows takes, with their
    numbers. The sample's row groups are as large as the shards' will be, so that dictionaries weigh alike.

    Args:
        sample: rows like those of the shards, in the order that they will have.
        rows: how many there will be.
        files: how many shards they will be cut into.
        row_group: how many rows a row group has at most.
        plain: columns without a dictionary.
    """
    empty, _, _ = _written(sample.slice(0, 0), row_group, plain)
    if rows < 1 or len(sample) == 0:
        return float(empty * files)
    a_file = rows / files
    groups = files * max(1.0, -(-a_file // row_group))
    size, data, written = _written(sample, max(1, min(row_group, -(-int(a_file) // 1))), plain)
    footer = max(0, size - empty - data) / written
    return data * rows / len(sample) + files * empty + groups * footer


def _written(table: pa.Table, row_group: int, plain: Sequence[str]) -> tuple[int, int, int]:
    """Bytes of the whole file, bytes of its data, and its row groups."""
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table.schema, plain) as parquet:
        writer = ShardWriter(parquet, row_group)
        writer.write(table)
        writer.finish()
    whole = sink.getvalue()
    meta = pq.read_metadata(pa.BufferReader(whole))
    columns = (
        meta.row_group(g).column(c)
        for g in range(meta.num_row_groups)
        for c in range(meta.num_columns)
    )
    return len(whole), sum(c.total_compressed_size for c in columns), max(1, meta.num_row_groups)
