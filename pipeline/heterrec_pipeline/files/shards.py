"""Write Parquet shards with exact row groups, under temporary names that are unique per attempt."""

import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.telemetry.recorder import WRITTEN, moving
from heterrec_schemas.tables import ITEM_TIMES, ROW_GROUP


class Written(NamedTuple):
    """A file that was written, but does not have its final name yet.

    Attributes:
        temporary: its full temporary name.
        path: its final name, relative to the generation's folder.
        rows: number of rows; -1 if it is not a table.
    """

    temporary: str
    path: str
    rows: int
    bytes: int
    sha256: str


class ShardWriter:
    """Cuts tables into row groups of exact size, each written as one contiguous chunk.

    Parquet begins new pages with every chunk, so the chunks of the input would otherwise change the bytes.
    """

    def __init__(self, parquet: pq.ParquetWriter, row_group: int) -> None:
        """Write to an open Parquet file."""
        self._parquet = parquet
        self._row_group = row_group
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._waiting.append(table)
        self._waiting_rows += len(table)
        if self._waiting_rows >= self._row_group:
            whole = pa.concat_tables(self._waiting)
            full = len(whole) // self._row_group * self._row_group
            for start in range(0, full, self._row_group):
                self._write_group(whole.slice(start, self._row_group))
            self._waiting = [whole.slice(full)]
            self._waiting_rows = len(whole) - full

    def finish(self) -> None:
        """Write the remaining rows."""
        if self._waiting_rows:
            self._write_group(pa.concat_tables(self._waiting))

    def _write_group(self, table: pa.Table) -> None:
        self._parquet.write_table(table.combine_chunks(), row_group_size=self._row_group)
        self.rows += len(table)


def parquet_writer(
    sink: pa.NativeFile, schema: pa.Schema, plain: Sequence[str]
) -> pq.ParquetWriter:
    """A Parquet writer with the settings of a generation; `plain` columns are written without a dictionary."""
    leaves = {n: not any(n == p or n.startswith(f"{p}.") for p in plain) for n in _leaves(schema)}
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[n for n, repeats in leaves.items() if repeats],
        write_statistics=True,
    )


@contextmanager
def new_shard(
    root: str,
    path: str,
    schema: pa.Schema,
    *,
    row_group: int = ROW_GROUP,
    plain: Sequence[str] = (),
    done: list[Written],
) -> Iterator[ShardWriter]:
    """Open a shard for writing; when the block succeeds, its `Written` is added to `done`.

    Args:
        root: the generation's folder.
        path: the shard's final path below it.
        schema: the shard's schema, metadata included.
        row_group: rows per row group.
        plain: columns whose values hardly repeat; written without a dictionary.
        done: receives the written file.

    Raises:
        RunError: the file cannot be written.
    """
    temporary = temporary_name(root, path)
    with (
        moving(WRITTEN, f"write {path}", table_of(path)) as moved,
        storage.open_write(temporary) as out,
    ):
        with parquet_writer(pa.PythonFile(out, mode="w"), schema, plain) as parquet:
            writer = ShardWriter(parquet, row_group)
            yield writer
            writer.finish()
        moved.add(writer.rows, out.size)
    done.append(Written(temporary, path, writer.rows, out.size, out.sha256))


def write_shard(
    root: str, path: str, table: pa.Table, *, row_group: int = ROW_GROUP, plain: Sequence[str] = ()
) -> Written:
    """Write a whole table as one shard; see `new_shard`."""
    done: list[Written] = []
    with new_shard(root, path, table.schema, row_group=row_group, plain=plain, done=done) as shard:
        shard.write(table)
    return done[0]


def write_text(root: str, path: str, text: str) -> Written:
    """Write a text file of the generation."""
    return write_copy(root, path, text.encode("utf-8"), -1)


def write_copy(root: str, path: str, data: bytes, rows: int) -> Written:
    """Write a small file of the generation from its bytes; `rows` is -1 if it is no table."""
    temporary = temporary_name(root, path)
    with moving(WRITTEN, f"write {path}") as moved:
        sha256 = storage.write_bytes(temporary, data)
        moved.add(max(rows, 0), len(data))
    return Written(temporary, path, rows, len(data), sha256)


def table_of(path: str) -> str:
    """The table that a file of a generation belongs to: its folder, `sequences/<split>` or `item_times/<name>`."""
    folder, name = posixpath.split(path)
    return f"{folder}/{name.split('-')[0]}" if folder in ("sequences", ITEM_TIMES) else folder


def temporary_name(root: str, path: str) -> str:
    """A new temporary name for a file of the generation; names that are left are deleted when it is published."""
    folder, name = posixpath.split(path)
    return storage.join(root, folder, f".{name}.{uuid.uuid4().hex}.tmp")


def _leaves(schema: pa.Schema) -> list[str]:
    """The Parquet names of the schema's leaf columns."""
    names = []
    for field in schema:
        name, kind = field.name, field.type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            name, kind = f"{name}.list.element", kind.value_type
        names.append(name)
    return names
