"""Assign encoded cells to the item shards and user rows that they belong to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.vocabularies.cells import OWNER, WITH_IDS, bucket_ids, cells
from heterrec_pipeline.vocabularies.lookup import Lookup
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count
from heterrec_schemas.feature_spec import CategoricalFeature


def place_items(
    job: Job,
    tables: Sequence[TableJob],
    large: Sequence[str],
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
    population: int,
) -> Iterator[tuple[int, TableRef]]:
    """Tokens and cells of a bucket's items to parts of item shards, their keys replaced by item_index."""
    _, pieces = element
    ids = bucket_ids(pieces["ids"])
    for k, table in enumerate(tables):
        waiting = ToItemShards(job, table.name, population)
        for piece in pieces[f"tokens-{k}"]:
            tokens = load(piece)
            yield from waiting.add(_with_index(tokens, ids, keep=not table.joined))
        yield from waiting.flush()
    places = [ToItemShards(job, f"item/{name}", population) for name in large]
    for piece in pieces["cells"]:
        rows = _with_index(load(piece), ids, keep=False)
        for number in pl.Series(rows["feature"]).unique().to_list():
            mine = rows.filter(pa.array(pl.Series(rows["feature"]) == number))
            yield from places[number].add(mine)
    for place in places:
        yield from place.flush()


def _with_index(rows: pa.Table, ids: Lookup, *, keep: bool) -> pa.Table:
    """Rows with item_index instead of the key OWNER; with `keep` the key stays, as item_id."""
    index = ids.find(pl.Series(rows[OWNER]).cast(pl.String))
    assert index.null_count() == 0, "an item without an id"
    owner = rows[OWNER].cast(pa.string())
    rows = rows.drop_columns([OWNER]).add_column(0, "item_index", index.to_arrow())
    return rows.add_column(1, "item_id", owner) if keep else rows


def place_cells(
    job: Job, large: Sequence[str], cells: pa.Table, population: int
) -> Iterator[tuple[int, TableRef]]:
    """Cells with ids, whose owners are item indexes, to parts of item shards."""
    if len(cells) == 0:
        return
    name = large[cells["feature"][0].as_py()]
    names = ["item_index" if n == OWNER else n for n in cells.column_names]
    place = ToItemShards(job, f"item/{name}", population)
    yield from place.add(cells.rename_columns(names))
    yield from place.flush()


def looked_up(
    feature: CategoricalFeature, pieces: Iterable[pa.Table], low: int, high: int
) -> tuple[pa.Array, int]:
    """The ids of the items low .. high - 1, by their long form.

    Returns:
        A token column, and how many of the items hold a value outside of the vocabulary.
    """
    owners = pl.DataFrame({OWNER: pl.int_range(low, high, eager=True)})
    frames = [as_frame(p).rename({"item_index": OWNER}) for p in pieces]
    return cells(feature, frames, owners[OWNER])


def place_users(
    table: TableJob,
    large: Sequence[CategoricalFeature],
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
) -> Iterator[Any]:
    """A bucket's users, their tokens and the cells of their large features, to tables of user and all tokens."""
    _, pieces = element
    long = pl.concat([pl.DataFrame(schema=WITH_IDS), *(as_frame(load(p)) for p in pieces["cells"])])
    by_feature = [long.filter(pl.col("feature") == k) for k in range(len(large))]
    for piece in pieces["tokens"]:
        tokens = load(piece)
        users = pl.Series(tokens["user"]).cast(pl.String).alias(OWNER)
        columns = {f"user_{f.name}": None for f in table.features}
        for feature, rows in zip(large, by_feature, strict=True):
            mine = rows.join(users.to_frame(), on=OWNER, how="semi")
            column, oov = cells(feature, [mine], users)
            columns[f"user_{feature.name}"] = column
            yield report_count(f"user/{feature.name}.oov", oov)
            yield report_count(f"user/{feature.name}.missing", missing_rows(column))
        whole = [tokens[n] if c is None else c for n, c in columns.items()]
        yield pa.table([tokens["user"], *whole], names=["user", *columns])


PART_BYTES = 64 * 2**20


class ToItemShards:
    """Tables with a column item_index until there are enough for a file; then (item shard, part)."""

    def __init__(self, job: Job, name: str, population: int) -> None:
        """Wait for parts of one table of the job."""
        self.job, self.name, self.population = job, name, population
        self.waiting: list[pa.Table] = []
        self.bytes = 0

    def add(self, table: pa.Table) -> Iterator[tuple[int, TableRef]]:
        """Add rows."""
        self.waiting.append(table)
        self.bytes += table.nbytes
        if self.bytes >= PART_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, TableRef]]:
        """Write what waits, a batch a shard."""
        tables, self.waiting, self.bytes = self.waiting, [], 0
        if not tables:
            return
        whole = pa.concat_tables(tables).combine_chunks()
        whole = whole.take(pa.array(np.argsort(whole["item_index"].to_numpy(), kind="stable")))
        count = self.job.spec.output.item_shards
        cuts = self.job.spec.first_item_index + item_cuts(self.population, count)
        at = np.searchsorted(whole["item_index"].to_numpy(), cuts)
        shards = [s for s in range(count) if at[s + 1] > at[s]]
        if not shards:
            return
        pieces = [whole.slice(at[s], at[s + 1] - at[s]) for s in shards]
        stem = self.name.replace("[", "-").replace("]", "").replace("/", "-")
        path = write_parts(self.job.parts, stem, pieces)
        for batch, shard in enumerate(shards):
            yield shard, TableRef(0, self.name, path, batch)


def item_cuts(population: int, shards: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where item shards begin, by position: [shards + 1]; sizes differ by one at most."""
    return population * np.arange(shards + 1, dtype=np.int64) // shards
