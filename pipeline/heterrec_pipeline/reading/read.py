"""Reads splits of any format as Arrow batches with row numbers; the schema's metadata names the file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.reading.batches import Columns, ReadBatch, one_chunk
from heterrec_pipeline.reading.column_types import as_in_source
from heterrec_pipeline.reading.decimals import with_points
from heterrec_pipeline.reading.files import InputFile, Split, unreadable
from heterrec_pipeline.reading.formats import avro, csv, jsonl, npy, orc, parquet
from heterrec_pipeline.reading.shaping.shape import is_plain, shaped
from heterrec_pipeline.reading.vectors import file_columns, with_vectors
from heterrec_pipeline.worker_errors import is_panic
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.rejects import Reason

ROW = "__row"
"""Column of row numbers in a located batch."""
FILE, SHORT, BAD_TEXT = b"heterrec_file", b"heterrec_short", b"heterrec_bad_text"
"""Metadata keys of a located batch: the name of its file; its short rows, and its cells that are not UTF-8, as JSON."""
T = TypeVar("T")


def read_split(split: Split, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """Read the requested columns of a split, each batch as a `pa.RecordBatch`; a column that the file lacks is null.

    The columns and rows are those of the file's source as the spec describes it: see `reading.shaping`.

    Raises:
        DataError: the file cannot be read, or a library fails on it; see the readers.
        SchemaMismatchError: the file lacks a required column, has a column twice, or has one of another kind than the
            files of its source that were compared.
    """
    wanted = list(dict.fromkeys(columns))
    try:
        found = file_columns(wanted, split.file.vectors) if split.file.vectors else wanted
        plain = is_plain(split.file, found)
        known = {} if split.file.format == "jsonl" else dict(split.file.known_types)
        for batch in _read(split, found) if plain else shaped(split, found, _read):
            names = set(batch.table.schema.names)
            arrays = [
                as_in_source(one_chunk(batch.table, name), name, split.file, known.get(name))
                if name in names
                else pa.nulls(len(batch.rows))
                for name in found
            ]
            if split.file.numbers:
                arrays = with_points(arrays, [name in split.file.numbers for name in found])
            if split.file.vectors:
                cells = dict(zip(found, arrays, strict=True))
                arrays = with_vectors(wanted, split.file.vectors, cells)
            yield batch._replace(table=pa.RecordBatch.from_arrays(arrays, names=wanted))
    except BaseException as error:
        if isinstance(error, HeterrecError | MemoryError) or not (
            isinstance(error, Exception) or is_panic(error)
        ):
            raise
        raise unreadable(split.file, f"{type(error).__name__}: {error}") from error


def _read(split: Split, columns: Columns) -> Iterator[ReadBatch]:
    if split.file.format == "parquet":
        return parquet.read(split, columns)
    if split.file.format == "npy":
        return npy.read(split.file, columns, _read)
    if split.file.format == "jsonl":
        assert not callable(columns), "rows may each have other columns"
        return jsonl.read(split.file, columns)
    reader = {"csv": csv.read, "avro": avro.read, "orc": orc.read}
    return reader[split.file.format](split.file, columns)


def column_types(file: InputFile) -> dict[str, pa.DataType] | None:
    """The columns of a file; None for JSON lines, whose rows may each have others."""
    if file.format == "parquet":
        return {f.name: f.type for f in parquet.schema_and_rows(Split(file))[0]}
    if file.format == "npy":
        return ((column_types(file.keys) or {}) if file.keys else {}) | npy.types(file)
    schema = {"csv": csv.schema, "avro": avro.schema, "orc": orc.schema}.get(file.format)
    return {f.name: f.type for f in schema(file)} if schema else None


def located(batch: ReadBatch, split: Split) -> pa.RecordBatch:
    """Add the column `ROW` to a batch, and the file's name, short rows and bad texts to the metadata of its schema."""
    table = batch.table.append_column(ROW, pa.array(batch.rows))
    about = {FILE: split.file.name.encode()}
    if batch.short:
        about[SHORT] = json.dumps({b.row: b.text for b in batch.short}).encode()
    if batch.bad_text:
        about[BAD_TEXT] = json.dumps(
            {c: dict(cells) for c, cells in batch.bad_text.items()}
        ).encode()
    return table.replace_schema_metadata(about)


def short_rows(table: pa.RecordBatch | pa.Table) -> dict[int, str | None]:
    """The rows of a located batch with too few fields: row number to text."""
    found = table.schema.metadata.get(SHORT)
    return {int(k): v for k, v in json.loads(found).items()} if found else {}


def bad_text(table: pa.RecordBatch | pa.Table) -> dict[str, dict[int, str | None]]:
    """The cells of a located batch that are not UTF-8: column to row number to text."""
    found = json.loads(table.schema.metadata.get(BAD_TEXT, b"{}"))
    return {c: {int(row): text for row, text in cells.items()} for c, cells in found.items()}


def bad_text_cells(
    table: pa.RecordBatch | pa.Table, columns: Iterable[str]
) -> list[tuple[int, str, Reason, str | None]]:
    """The entries in `rejects/` for the cells of some columns of a located batch that are not UTF-8."""
    found = bad_text(table)
    if not found:
        return []
    present = set(table[ROW].to_pylist())
    return [
        (row, column, Reason.NOT_UTF8, text)
        for column in dict.fromkeys(columns)
        for row, text in found.get(column, {}).items()
        if row in present
    ]


def file_of(table: pa.RecordBatch | pa.Table) -> str:
    """The file name of a located batch."""
    return str(table.schema.metadata[FILE].decode())


def without_rows(table: pa.RecordBatch, rows: pl.Series) -> pa.RecordBatch:
    """A located batch without the rows with these numbers."""
    if rows.is_empty():
        return table
    keep = ~np.isin(table[ROW].to_numpy(), rows.to_numpy())
    return table if keep.all() else table.filter(pa.array(keep))
