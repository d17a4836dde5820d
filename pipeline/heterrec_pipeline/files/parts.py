"""Parts: Arrow files by which one step hands large tables to the next, so that no shuffle has to hold them.

A part belongs to one attempt of one bundle; only the reference that a finished bundle has emitted makes it count.
"""

import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeVar

import pyarrow as pa

from heterrec_pipeline.files import storage
from heterrec_pipeline.telemetry.spans import FETCHED, SPILLED, moving

Made = TypeVar("Made")
Source = TypeVar("Source")
KEPT = 64
"""Number of tables, and of objects made from tables, that a process keeps of each kind."""
_forgetters: list[Callable[[], None]] = []


class TableRef(NamedTuple):
    """A reference to a table in an Arrow file.

    Attributes:
        order: position among the other tables of its shard.
        table: name of the table of the job that it was made from.
        path: the file.
        batch: number of a record batch; None for the whole file, which many workers load and keep.
        rows: number of rows, where it is known.
    """

    order: int
    table: str
    path: str
    batch: int | None = None
    rows: int = 0


def write_parts(folder: str, stem: str, tables: list[pa.Table]) -> str:
    """Write tables of one schema as the record batches 0, 1 .. of a new Arrow file; returns its path."""
    path = storage.join(folder, f"{stem}-{uuid.uuid4().hex}.arrow")
    with moving(SPILLED, f"spill {stem}") as moved:
        with (
            storage.open_write(path) as out,
            pa.ipc.new_file(out.unhashed(), tables[0].schema) as writer,
        ):
            for table in tables:
                batches = table.combine_chunks().to_batches()
                assert len(batches) <= 1, f"{stem}: a part beyond 2 GB of text"
                writer.write_batch(batches[0] if batches else _empty(table.schema))
        moved.add(sum(len(t) for t in tables), out.size)
    return path


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def store(folder: str, stem: str, table: pa.Table, batch: int | None = None) -> TableRef:
    """Write a table that many workers will look into, or (with the rows of a `batch`) one that is read piece by piece."""
    path = storage.join(folder, f"{stem}-{uuid.uuid4().hex}.arrow")
    with moving(SPILLED, f"spill {stem}") as moved:
        with (
            storage.open_write(path) as out,
            pa.ipc.new_file(out.unhashed(), table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=batch)
        moved.add(len(table), out.size)
    return TableRef(0, stem, path, rows=len(table))


def stored_batches(ref: TableRef) -> Iterator[pa.Table]:
    """A stored table piece by piece, one in memory at a time."""
    with storage.open_arrow(ref.path) as handle:
        reader = pa.ipc.open_file(handle)
        for k in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(k)])


def load(table: pa.Table | TableRef) -> pa.Table:
    """A table itself, or the one behind a reference; a whole file stays loaded in this process."""
    if isinstance(table, pa.Table):
        return table
    return _load_whole(table) if table.batch is None else _load_batch(table)


def _load_batch(ref: TableRef) -> pa.Table:
    with moving(FETCHED, f"fetch {ref.table}") as moved, storage.open_arrow(ref.path) as handle:
        table = pa.Table.from_batches([pa.ipc.open_file(handle).get_batch(ref.batch)])
        moved.add(len(table), table.nbytes)
    return table


def row_count(table: pa.Table | TableRef) -> int:
    """How many rows a table has, without opening it."""
    return len(table) if isinstance(table, pa.Table) else table.rows


def once_a_process(make: Callable[[Source], Made]) -> Callable[[Source], Made]:
    """Decorate a function of a stored table (or several): a process calls it once, and keeps the result until `forget`."""
    kept = lru_cache(maxsize=KEPT)(make)
    _forgetters.append(kept.cache_clear)
    return kept


@once_a_process
def _load_whole(ref: TableRef) -> pa.Table:
    with moving(FETCHED, "fetch a whole table") as moved, storage.open_arrow(ref.path) as handle:
        table = pa.ipc.open_file(handle).read_all()
        moved.add(len(table), table.nbytes)
    return table


def forget() -> None:
    """Let go of everything that was kept `once_a_process`."""
    for clear in _forgetters:
        clear()
