"""The one door to input rows: a split in, Arrow tables out, each row knowing its number and each table its file."""

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.observing import spans
from heterrec_pipeline.reading import csv, jsonl, parquet
from heterrec_pipeline.reading.batches import Batch
from heterrec_pipeline.reading.files import Split

ROW = "__row"
FILE = b"heterrec_file"
SHORT = b"heterrec_short"
T = TypeVar("T")


def read_split(split: Split, columns: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns of a split; see the readers for what they raise."""
    wanted = list(dict.fromkeys(columns))
    if split.file.format == "parquet":
        return parquet.read(split, wanted)
    if split.file.format == "csv":
        return csv.read(split.file, wanted)
    return jsonl.read(split.file, wanted)


def located(batch: Batch, split: Split) -> pa.Table:
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


class _End:
    """Ends a prefetched stream; carries the error that ended it, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(source: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same elements, the next ones being made in a thread while the caller works on one."""
    made: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    lane = spans.lane()
    stopped = threading.Event()

    def offer(element: T | _End) -> bool:
        while not stopped.is_set():
            try:
                made.put(element, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for element in spans.ahead(source, lane):
                if not offer(element):
                    return
            offer(_End(None))
        except BaseException as error:  # handed to the caller's thread, which raises it
            offer(_End(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            with spans.moving(spans.READ, "read") as moved:
                element = made.get()
                if isinstance(element, Batch):
                    moved.add(len(element.table) + len(element.bad), element.table.nbytes)
            if isinstance(element, _End):
                if element.error is not None:
                    raise element.error
                return
            yield element
    finally:
        stopped.set()
        thread.join()
