"""Parts: Arrow files by which one step hands large tables to the next, so that no shuffle has to hold them.

A part belongs to one attempt of one bundle; only the reference that a finished bundle has emitted makes it count.
"""

import uuid
from typing import NamedTuple

import pyarrow as pa

from heterrec_pipeline import storage


class Part(NamedTuple):
    """A reference to a table: one record batch of an Arrow file."""

    order: int
    """Where the table stands among others of its shard."""
    table: str
    """Which table of the job it came from."""
    path: str
    batch: int


def write_parts(folder: str, stem: str, tables: list[pa.Table]) -> str:
    """Write tables of one schema as the record batches 0, 1 .. of a new Arrow file; returns its path."""
    path = storage.join(folder, f"{stem}-{uuid.uuid4().hex}.arrow")
    with storage.open_write(path) as out, pa.ipc.new_file(out, tables[0].schema) as writer:
        for table in tables:
            batches = table.combine_chunks().to_batches()
            writer.write_batch(batches[0] if batches else _empty(table.schema))
    return path


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def read_part(part: Part) -> pa.Table:
    """The table that a reference stands for."""
    with storage.open_arrow(part.path) as handle:
        reader = pa.ipc.open_file(handle)
        return pa.Table.from_batches([reader.get_batch(part.batch)])
