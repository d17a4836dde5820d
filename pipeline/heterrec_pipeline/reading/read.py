"""Reads splits of any format as Arrow batches with row numbers; the schema's metadata names the file."""

import json
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.reading import csv, jsonl, parquet
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split

ROW = "__row"
"""Column of row numbers in a located batch."""
FILE, SHORT = b"heterrec_file", b"heterrec_short"
"""Metadata keys of a located batch: the name of its file, and its short rows as JSON."""
T = TypeVar("T")


def read_split(split: Split, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """Read the requested columns of a split, each batch as a `pa.RecordBatch`; see the readers for errors."""
    wanted = list(dict.fromkeys(columns))
    if split.file.format == "parquet":
        batches = parquet.read(split, wanted)
    elif split.file.format == "csv":
        batches = csv.read(split.file, wanted)
    else:
        batches = jsonl.read(split.file, wanted)
    for batch in batches:
        arrays = [one_chunk(batch.table, name) for name in wanted]
        yield batch._replace(table=pa.RecordBatch.from_arrays(arrays, names=wanted))


def located(batch: ReadBatch, split: Split) -> pa.RecordBatch:
    """Add the column `ROW` to a batch, and the file's name and short rows to the metadata of its schema."""
    table = batch.table.append_column(ROW, pa.array(batch.rows))
    about = {FILE: split.file.name.encode()}
    if batch.short:
        about[SHORT] = json.dumps({b.row: b.text for b in batch.short}).encode()
    return table.replace_schema_metadata(about)


def short_rows(table: pa.RecordBatch | pa.Table) -> dict[int, str]:
    """The rows of a located batch with too few fields: row number to text."""
    found = table.schema.metadata.get(SHORT)
    return {int(k): v for k, v in json.loads(found).items()} if found else {}


def file_of(table: pa.RecordBatch | pa.Table) -> str:
    """The file name of a located batch."""
    return str(table.schema.metadata[FILE].decode())


def one_chunk(table: pa.RecordBatch | pa.Table, column: str) -> pa.Array:
    """A column of a table as one array."""
    cells = table[column]
    if isinstance(cells, pa.ChunkedArray) and cells.num_chunks == 1:
        return cells.chunk(0)  # `combine_chunks` would copy it
    while isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    return cells


def without_rows(table: pa.RecordBatch, rows: pl.Series) -> pa.RecordBatch:
    """A located batch without the rows with these numbers."""
    if rows.is_empty():
        return table
    keep = ~np.isin(table[ROW].to_numpy(), rows.to_numpy())
    return table if keep.all() else table.filter(pa.array(keep))
