"""Assign tokens and cells to item shards and user rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import EncodedColumn, missing_rows
from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.cells import OWNER, WITH_IDS, cells
from heterrec_pipeline.vocabularies.lookup import bucket_lookup
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count
from heterrec_schemas.feature_spec import CategoricalFeature


def place_items(
    job: Job,
    tables: Sequence[TableJob],
    large: Sequence[str],
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
    cuts: ItemCuts,
) -> Iterator[tuple[int, TableRef]]:
    """Tokens and cells of a bucket's items to (item shard, stored rows), with item_index instead of keys."""
    _, pieces = element
    ids = bucket_lookup(pieces["ids"])
    for k, table in enumerate(tables):
        buffer = PartBuffer(job, table.name, cuts.items)
        for piece in pieces[f"tokens-{k}"]:
            yield from buffer.add(_with_index(load(piece), ids, keep=not table.joined))
        yield from buffer.flush()
    buffers = [PartBuffer(job, f"item/{name}", cuts.items) for name in large]
    for piece in pieces["cells"]:
        rows = _with_index(load(piece), ids, keep=False)
        for number in pl.Series(rows["feature"]).unique().to_list():
            mine = rows.filter(pa.array(pl.Series(rows["feature"]) == number))
            yield from buffers[number].add(mine)
    for buffer in buffers:
        yield from buffer.flush()


def _with_index(rows: pa.Table, ids: Lookup, *, keep: bool) -> pa.Table:
    """Replace the key OWNER by item_index; with `keep` the key stays, as item_id."""
    index = ids.find(pl.Series(rows[OWNER]).cast(pl.String))
    assert index.null_count() == 0, "an item without an id"
    owner = rows[OWNER].cast(pa.string())
    rows = rows.drop_columns([OWNER]).add_column(0, "item_index", index.to_arrow())
    return rows.add_column(1, "item_id", owner) if keep else rows


def place_cells(
    job: Job, large: Sequence[str], cells: pa.Table, cuts: ItemCuts
) -> Iterator[tuple[int, TableRef]]:
    """Values with ids, whose owners are item indexes, to (item shard, stored rows)."""
    if len(cells) == 0:
        return
    name = large[cells["feature"][0].as_py()]
    names = ["item_index" if n == OWNER else n for n in cells.column_names]
    buffer = PartBuffer(job, f"item/{name}", cuts.items)
    yield from buffer.add(cells.rename_columns(names))
    yield from buffer.flush()


def item_cells(
    feature: CategoricalFeature, pieces: Iterable[pa.Table], ids: pl.Series
) -> EncodedColumn:
    """The cells of some items, from their values with ids."""
    names = {"item_index": OWNER}
    renamed = (p.rename_columns([names.get(n, n) for n in p.column_names]) for p in pieces)
    return cells(feature, renamed, ids)


def place_users(
    table: TableJob,
    large: Sequence[CategoricalFeature],
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
) -> Iterator[Any]:
    """Tokens of a bucket's users and the values of their large features to tables of user and all tokens."""
    _, pieces = element
    frames = [as_frame(load(p)) for p in pieces["cells"]]
    values = pl.concat([pl.DataFrame(schema=WITH_IDS), *frames])
    by_feature = [values.filter(pl.col("feature") == k) for k in range(len(large))]
    for piece in pieces["tokens"]:
        tokens = load(piece)
        users = pl.Series(tokens["user"]).cast(pl.String).alias(OWNER)
        columns = {f"user_{f.name}": None for f in table.features}
        for feature, rows in zip(large, by_feature, strict=True):
            mine = rows.join(users.to_frame(), on=OWNER, how="semi")
            encoded = cells(feature, [mine.to_arrow()], users)
            columns[f"user_{feature.name}"] = encoded.tokens
            yield report_count(f"user/{feature.name}.oov", encoded.oov_rows)
            yield report_count(f"user/{feature.name}.missing", missing_rows(encoded.tokens))
        whole = [tokens[n] if c is None else c for n, c in columns.items()]
        yield pa.table([tokens["user"], *whole], names=["user", *columns])


PART_BYTES = 64 * 2**20
"""Bytes of buffered rows that are written to one file."""


class PartBuffer:
    """Buffers tables with a column item_index, and stores them by item shard: (item shard, stored rows)."""

    def __init__(self, job: Job, name: str, cuts: Sequence[int]) -> None:
        """Buffer rows of one table of the job; `cuts` are the first ids of its shards, and the end."""
        self.job, self.name, self.cuts = job, name, cuts
        self.tables: list[pa.Table] = []
        self.bytes = 0

    def add(self, table: pa.Table) -> Iterator[tuple[int, TableRef]]:
        """Add rows."""
        self.tables.append(table)
        self.bytes += table.nbytes
        if self.bytes >= PART_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, TableRef]]:
        """Store the buffered rows, one record batch per shard."""
        tables, self.tables, self.bytes = self.tables, [], 0
        if not tables:
            return
        whole = pa.concat_tables(tables).combine_chunks()
        whole = whole.take(pa.array(np.argsort(whole["item_index"].to_numpy(), kind="stable")))
        at = np.searchsorted(whole["item_index"].to_numpy(), self.cuts)
        shards = [s for s in range(len(at) - 1) if at[s + 1] > at[s]]
        if not shards:
            return
        pieces = [whole.slice(at[s], at[s + 1] - at[s]) for s in shards]
        stem = self.name.replace("[", "-").replace("]", "").replace("/", "-")
        path = write_parts(self.job.parts, stem, pieces)
        for batch, shard in enumerate(shards):
            yield shard, TableRef(0, self.name, path, batch)
