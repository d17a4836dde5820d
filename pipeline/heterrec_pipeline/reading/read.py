"""The one door to input rows: a split in, Arrow tables out, each row knowing its number and each table its file."""

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
FILE = b"heterrec_file"
SHORT = b"heterrec_short"
T = TypeVar("T")


def read_split(split: Split, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The wanted columns of a split; see the readers for what they raise."""
    wanted = list(dict.fromkeys(columns))
    if split.file.format == "parquet":
        return parquet.read(split, wanted)
    if split.file.format == "csv":
        return csv.read(split.file, wanted)
    return jsonl.read(split.file, wanted)


def located(batch: ReadBatch, split: Split) -> pa.Table:
    """The batch's table with the column `ROW`, and the file's name and short rows in the schema's metadata."""
    table = batch.table.append_column(ROW, pa.array(batch.rows))
    about = {FILE: split.file.name.encode()}
    if batch.short:
        about[SHORT] = json.dumps({b.row: b.text for b in batch.short}).encode()
    return table.replace_schema_metadata(about)


def short_rows(table: pa.Table) -> dict[int, str]:
    """The rows of a located table that ended early: row number to text."""
    found = table.schema.metadata.get(SHORT)
    return {int(k): v for k, v in json.loads(found).items()} if found else {}


def file_of(table: pa.Table) -> str:
    """The file that a located table's rows come from."""
    return str(table.schema.metadata[FILE].decode())


def one_chunk(table: pa.Table, column: str) -> pa.Array:
    """A column as one array."""
    chunked = table[column].combine_chunks()
    return chunked.combine_chunks() if isinstance(chunked, pa.ChunkedArray) else chunked


def without_rows(table: pa.Table, rows: pl.Series) -> pa.Table:
    """A located table without the rows of the given numbers."""
    if rows.is_empty():
        return table
    keep = ~np.isin(table[ROW].to_numpy(), rows.to_numpy())
    return table if keep.all() else table.filter(pa.array(keep))
