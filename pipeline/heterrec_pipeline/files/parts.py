"""Parts: Arrow files through which a step passes large tables to the next, so that no shuffle has to hold them.

A part belongs to one attempt of one bundle. It is used only if the attempt finishes and emits a reference to it.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeVar

import pyarrow as pa

from heterrec_pipeline.files import storage
from heterrec_pipeline.telemetry.recorder import FETCHED, SPILLED, moving

Made = TypeVar("Made")
Source = TypeVar("Source")
KEPT = 64
"""Number of results that a process caches per function."""
_PART = re.compile(r"-[0-9a-f]{32}\.arrow$")
"""The end of the name of a part."""
_forgetters: list[Callable[[], None]] = []


class TableRef(NamedTuple):
    """A reference to a table in an Arrow file.

    Attributes:
        order: position among the other tables of its shard.
        table: name of the table of the job that it was made from.
        path: the file.
        batch: number of a record batch; None for the whole file, which many workers load and cache.
        rows: number of rows, if known.
    """

    order: int
    table: str
    path: str
    batch: int | None = None
    rows: int = 0


def write_parts(folder: str, stem: str, tables: list[pa.Table]) -> str:
    """Write tables of one schema as the record batches 0, 1 .. of a new Arrow file; returns its path."""
    return _write(folder, stem, tables[0].schema, (_one_batch(stem, t) for t in tables))


def _one_batch(stem: str, table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    assert len(batches) <= 1, f"{stem}: a part with more than 2 GB of text"
    empty = [pa.array([], f.type) for f in table.schema]
    return batches[0] if batches else pa.RecordBatch.from_arrays(empty, schema=table.schema)


def store(folder: str, stem: str, table: pa.Table, batch: int | None = None) -> TableRef:
    """Write a table that many workers load, or (with the rows per `batch`) one that is read batch by batch."""
    path = _write(folder, stem, table.schema, table.to_batches(max_chunksize=batch))
    return TableRef(0, stem, path, rows=len(table))


def _write(folder: str, stem: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    path = storage.join(folder, f"{stem}-{uuid.uuid4().hex}.arrow")
    rows = 0
    with moving(SPILLED, f"spill {stem}") as moved:
        with storage.open_write(path) as out, pa.ipc.new_file(out.unhashed(), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += len(batch)
        moved.add(rows, out.size)
    return path


def delete_parts(folder: str) -> None:
    """Delete the parts in a folder, and the folder if nothing else is in it."""
    if not storage.is_link(folder):
        storage.delete_files(p for p in storage.files_below(folder) if _PART.search(p))
        if not storage.files_below(folder):
            storage.delete_tree(folder)


def stored_batches(ref: TableRef) -> Iterator[pa.Table]:
    """The batches of a stored table, one in memory at a time."""
    with storage.open_arrow(ref.path) as handle:
        reader = pa.ipc.open_file(handle)
        for k in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(k)])


def load(table: pa.Table | TableRef) -> pa.Table:
    """The table itself, or the referenced one; this process caches whole files."""
    if isinstance(table, pa.Table):
        return table
    return _load_whole(table) if table.batch is None else _load_batch(table)


def _load_batch(ref: TableRef) -> pa.Table:
    with moving(FETCHED, f"fetch {ref.table}") as moved, storage.open_arrow(ref.path) as handle:
        table = pa.Table.from_batches([pa.ipc.open_file(handle).get_batch(ref.batch)])
        moved.add(len(table), table.nbytes)
    return table


def row_count(table: pa.Table | TableRef) -> int:
    """Number of rows of a table, without loading it."""
    return len(table) if isinstance(table, pa.Table) else table.rows


def once_a_process(make: Callable[[Source], Made]) -> Callable[[Source], Made]:
    """Decorate a function of one or several references: this process caches its results until `forget`."""
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
    """Clear the caches of `once_a_process`."""
    for clear in _forgetters:
        clear()
