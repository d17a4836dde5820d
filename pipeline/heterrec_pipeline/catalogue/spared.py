"""Keys that no worker holds: a bucket's rows meet there, and what is wrong with them goes back to where they stand."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.catalogue.encode import ToItemShards
from heterrec_pipeline.catalogue.keys import (
    batch_keys,
    hashed_rows,
    lost_rows,
    no_keys,
)
from heterrec_pipeline.catalogue.long import OWNER, bucket_ids
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.lookup import Lookup
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import counted
from heterrec_pipeline.publishing.parts import Part, Stored, opened, store
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import prefetched, read_split
from heterrec_pipeline.vocabularies.buckets import Place, as_frame
from heterrec_pipeline.vocabularies.number import SortedBucket
from heterrec_pipeline.vocabularies.plan import Rules
from heterrec_pipeline.worker_errors import carried

LEFT_OUT = "left_out"
REPEATED_ROWS = "repeated_rows"
KEPT = "kept"
ROWS = {"key": pl.String, "split": pl.Int64, "row": pl.Int64}


def by_split(table: TableJob, rows: pl.DataFrame) -> Iterator[tuple[Place, pa.Table]]:
    """Rows that name their split to ((table, split), row numbers)."""
    for piece in rows.select("split", "row").partition_by("split"):
        yield (table.name, int(piece["split"][0])), piece.select("row").to_arrow()


class FindKeys(beam.DoFn):
    """The keys of a bucket, of the tables of a side, to its distinct ones, and to the rows that need a second look or none.

    Main: ((vocabulary, bucket), stored) of sorted keys, where they get ids. `LEFT_OUT`: rows of joined tables whose key
    the first table lacks. `REPEATED_ROWS`: rows whose key stands more than once in their table. `KEPT`: how many keys
    there are.
    """

    def __init__(self, job: Job, tables: Sequence[TableJob], rules: Rules | None) -> None:
        """Find the keys of some tables, the first of which says which keys count."""
        self.job, self.tables, self.rules = job, tables, rules

    @carried
    def process(
        self, element: tuple[Place, dict[str, Iterable[pa.Table | Part]]], seen: dict[str, int]
    ) -> Iterator[Any]:
        """Look at one bucket."""
        (_, bucket), pieces = element
        METER.enter("finding keys")
        first: pl.DataFrame | None = None
        for k, table in enumerate(self.tables):
            frames = [as_frame(opened(p)) for p in pieces[f"keys-{k}"]]
            rows = pl.concat([pl.DataFrame(schema=ROWS), *frames])
            keys = rows.group_by("key").len("rows")
            yield counted(f"{table.name}.keys", len(keys))
            twice = keys.filter(pl.col("rows") > 1)
            for value in by_split(table, rows.join(twice, on="key", how="semi")):
                yield TaggedOutput(REPEATED_ROWS, value)
            if first is None:
                first = keys.select(pl.col("key").alias("value"))
                continue
            strange = rows.join(first, left_on="key", right_on="value", how="anti")
            for value in by_split(table, strange):
                yield TaggedOutput(LEFT_OUT, value)
        assert first is not None
        yield TaggedOutput(KEPT, len(first))
        if self.rules is not None:
            counts = first.with_columns(count=pl.lit(1, pl.Int64))
            yield from SortedBucket(self.job, self.rules, seen).outputs(bucket, counts)


class CheckKept(beam.DoFn):
    """How many keys a side has to the same; none at all is refused."""

    def __init__(self, table: TableJob) -> None:
        """Check one table."""
        self.table = table

    @carried
    def process(self, keys: int) -> Iterator[int]:
        """Check the sum.

        Raises:
            DataError: there is none.
        """
        if keys == 0:
            raise no_keys(self.table, [])
        yield keys


class ReadAgain(beam.DoFn):
    """The numbers of a split's rows whose keys are repeated to what decides between them: (table, rows)."""

    def __init__(self, tables: Sequence[TableJob]) -> None:
        """Read some tables."""
        self.tables = {t.name: t for t in tables}

    @carried
    def process(
        self,
        element: tuple[Place, dict[str, Iterable[pa.Table | Part]]],
        splits: dict[Place, Split],
    ) -> Iterator[tuple[str, pa.Table]]:
        """Read the rows of one split."""
        place, pieces = element
        table, split = self.tables[place[0]], splits[place]
        wanted = pl.concat([as_frame(opened(p))["row"] for p in pieces["rows"]]).implode()
        for batch in prefetched(read_split(split, table.columns)):
            found = pl.Series(batch.rows).is_in(wanted).arg_true()
            if found.is_empty():
                continue
            text = batch_keys(table, split, batch)
            rows = hashed_rows(table, split, batch, text, found)
            yield table.name, rows.with_columns(split=pl.lit(split.number, pl.Int64)).to_arrow()


class ChooseInBucket(beam.DoFn):
    """All rows of a bucket's repeated keys to those that lost: ((table, split), row numbers)."""

    def __init__(self, tables: Sequence[TableJob]) -> None:
        """Choose for some tables."""
        self.tables = {t.name: t for t in tables}

    @carried
    def process(self, element: tuple[Place, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        """Choose in one bucket of one table."""
        (name, _), pieces = element
        table = self.tables[name]
        rows = pl.concat([as_frame(opened(p)) for p in pieces["rows"]])
        losers, reports = lost_rows(table, rows)
        yield from by_split(table, losers)
        yield from reports


class StoreLeftOut(beam.DoFn):
    """All row numbers of a split that do not count to one reference."""

    def __init__(self, job: Job) -> None:
        """Store for one job."""
        self.job = job

    @carried
    def process(
        self, element: tuple[Place, dict[str, Iterable[pa.Table | Part]]]
    ) -> Iterator[tuple[Place, Stored]]:
        """Store one split's."""
        place, pieces = element
        rows = pl.concat([as_frame(opened(p)) for p in pieces["rows"]]).unique().sort("row")
        yield place, store(self.job.parts, "left-out", rows.to_arrow())


class PlaceItems(beam.DoFn):
    """Tokens and cells of a bucket's items to parts of item shards, their keys replaced by item_index."""

    def __init__(self, job: Job, tables: Sequence[TableJob], large: Sequence[str]) -> None:
        """Place the rows of some tables; `large` features come as cells."""
        self.job, self.tables, self.large = job, tables, large

    @carried
    def process(
        self, element: tuple[Place, dict[str, Iterable[Any]]], population: int
    ) -> Iterator[tuple[int, Part]]:
        """Place one bucket, a piece at a time."""
        _, pieces = element
        METER.enter("placing items")
        ids = bucket_ids(pieces["ids"])
        for k, table in enumerate(self.tables):
            waiting = ToItemShards(self.job, table.name, population)
            for piece in pieces[f"tokens-{k}"]:
                tokens = opened(piece)
                yield from waiting.add(_with_index(tokens, ids, keep=not table.joined))
            yield from waiting.flush()
        places = [ToItemShards(self.job, f"item/{name}", population) for name in self.large]
        for piece in pieces["cells"]:
            rows = _with_index(opened(piece), ids, keep=False)
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


class PlaceCells(beam.DoFn):
    """Cells with ids, whose owners are item indexes, to parts of item shards."""

    def __init__(self, job: Job, large: Sequence[str]) -> None:
        """Place the cells of the large features."""
        self.job, self.large = job, large

    @carried
    def process(self, cells: pa.Table, population: int) -> Iterator[tuple[int, Part]]:
        """Place the cells of one piece, which are of one feature."""
        if len(cells) == 0:
            return
        name = self.large[cells["feature"][0].as_py()]
        names = ["item_index" if n == OWNER else n for n in cells.column_names]
        place = ToItemShards(self.job, f"item/{name}", population)
        yield from place.add(cells.rename_columns(names))
        yield from place.flush()
