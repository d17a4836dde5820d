"""The keys' wiring: as one table that goes to every worker, or by bucket."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsSingleton, PCollection

from heterrec_pipeline.files.parts import TableRef, row_count
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.duplicates import (
    KEPT,
    LEFT_OUT,
    REPEATED_ROWS,
    check_kept,
    choose_in_bucket,
    find_keys_in_bucket,
    read_again,
    store_left_out,
)
from heterrec_pipeline.keys.one_table import (
    REPEATED,
    KeyRules,
    choose_rows,
    number_key_table,
    read_repeated,
)
from heterrec_pipeline.keys.read import SEEN, read_key_splits
from heterrec_pipeline.keys.row_filter import ExcludedRows, KeyIndex
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.vocabularies.number import FIGURES_TAG
from heterrec_pipeline.vocabularies.steps import Counted
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import ByReference, Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import AllToOne, Composite, Step, ValueKinds, of_type


class RowFilter(NamedTuple):
    """How a reading learns which rows count.

    Attributes:
        known: what it makes of its two side inputs: `KeyIndex` or `ExcludedRows`.
        sides: the side inputs.
        population: how many keys the side has.
    """

    known: type[KeyIndex | ExcludedRows]
    sides: tuple[Any, Any]
    population: PCollection


class Keyed(NamedTuple):
    """A table's kept keys: index (key, id, shard), how many, the rows that lost, and the kinds of its keys."""

    index: PCollection
    population: PCollection
    losers: PCollection
    kinds: PCollection

    def rows(self, losers: PCollection) -> RowFilter:
        """The rows of a table that count, by this index and the table's own losers."""
        return RowFilter(KeyIndex, (AsSingleton(self.index), AsSingleton(losers)), self.population)


@dataclass(eq=False, kw_only=True)
class NumberedKeys(Composite):
    """Splits of a table to its keys: read, numbered, repeated ones resolved."""

    job: Job
    table: TableJob
    rules: KeyRules | None
    ledger: Ledger
    kinds: PCollection | None = None
    """Given for rows out of the log, whose keys were seen there."""

    def expand(self, splits: PCollection) -> Keyed:
        """Read, number, resolve."""
        table, ledger = self.table, self.ledger
        texts, seen = splits | "read" >> Step(
            fn=partial(read_key_splits, table, from_log=self.kinds is not None),
            ledger=ledger,
            tags=(SEEN,),
            spread=True,
        )
        kinds = self.kinds or (seen | "kinds" >> ValueKinds())
        index, repeated = texts | "number" >> AllToOne(
            fn=partial(number_key_table, table, self.rules),
            ledger=ledger,
            side_inputs=(AsDict(kinds),),
            tags=(REPEATED,),
        )
        twice = of_type(repeated, pa.Table) | "keep repeated" >> ByReference(
            job=self.job, stem="repeated"
        )
        rows = splits | "read repeated" >> Step(
            fn=partial(read_repeated, table), side_inputs=(AsSingleton(twice),), spread=True
        )
        losers = rows | "choose" >> AllToOne(fn=partial(choose_rows, table), ledger=ledger)
        kept = index | "keep index" >> ByReference(job=self.job, stem="index")
        return Keyed(
            kept,
            of_type(kept | "how many" >> beam.Map(row_count), int),
            losers | "keep losers" >> ByReference(job=self.job, stem="losers"),
            kinds,
        )


class KeyedByBucket(NamedTuple):
    """The keys of a side that no worker holds: which rows count, sorted buckets of keys, and the kinds of keys."""

    rows: RowFilter
    counted: Counted
    kinds: PCollection


def _numbered(split: Split, table: str) -> tuple[BucketKey, Split]:
    return (table, split.number), split


@dataclass(eq=False, kw_only=True)
class KeysByBucket(Composite):
    """Splits by table to the keys of a side: rows meet by bucket of their key, and those that do not count are listed.

    Attributes:
        job: the build.
        name: the vocabulary, items or users.
        tables: the side's tables; the keys of the first are those that count.
        rules: how keys get ids; None for a side whose keys need none.
        buckets: how many.
        ledger: takes the reports.
        kinds: given for rows out of the log, whose keys were seen there.
    """

    job: Job
    name: str
    tables: tuple[TableJob, ...]
    rules: Rules | None
    buckets: int
    ledger: Ledger
    kinds: PCollection | None = None

    def expand(self, splits: dict[str, PCollection]) -> KeyedByBucket:
        """Read, exchange, look at each bucket, resolve repeated keys."""
        pieces, kinds = self._read(splits)
        pair = tuple[BucketKey, pa.Table]
        found, left, twice, kept, figures = (
            pieces
            | "by key" >> Exchange(job=self.job, key=BucketKey)
            | "find"
            >> Step(
                fn=partial(find_keys_in_bucket, self.job, self.tables, self.rules),
                ledger=self.ledger,
                side_inputs=(AsDict(kinds),),
                tags=(LEFT_OUT, REPEATED_ROWS, KEPT, FIGURES_TAG),
                tag_kinds={LEFT_OUT: pair, REPEATED_ROWS: pair, KEPT: int, FIGURES_TAG: pa.Table},
                kind=tuple[BucketKey, TableRef],
            )
        )
        population = (
            kept
            | "add up" >> beam.CombineGlobally(sum)
            | "check" >> Step(fn=partial(check_kept, self.tables[0]), kind=int)
        )
        lost = self._lost(splits, twice)
        left_out = (
            {"rows": of_type((left, lost) | "all left out" >> beam.Flatten(), pair)}
            | "by split" >> Exchange(job=self.job, key=BucketKey)
            | "keep left out"
            >> Step(fn=partial(store_left_out, self.job), kind=tuple[BucketKey, TableRef])
        )
        rows = RowFilter(ExcludedRows, (AsSingleton(population), AsDict(left_out)), population)
        return KeyedByBucket(rows, Counted(found, figures), kinds)

    def _read(self, splits: dict[str, PCollection]) -> tuple[dict[str, PCollection], PCollection]:
        """((vocabulary, bucket), keys and where they stand) by table, and the kinds of the first's keys."""
        pieces, kinds = {}, self.kinds
        for k, table in enumerate(self.tables):
            texts, seen = splits[table.name] | f"read {table.name}" >> Step(
                fn=partial(
                    read_key_splits, table, from_log=k == 0 and self.kinds is not None, place=True
                ),
                ledger=self.ledger,
                tags=(SEEN,),
                spread=True,
            )
            kinds = kinds or (seen | "kinds" >> ValueKinds())
            pieces[f"keys-{k}"] = texts | f"cut {table.name}" >> CutTables(
                column="key", buckets={self.name: self.buckets}, name=self.name
            )
        assert kinds is not None
        return pieces, kinds

    def _lost(self, splits: dict[str, PCollection], twice: PCollection) -> PCollection:
        """((table, split), numbers) of the rows that lost against another of their key."""
        numbered = tuple(
            splits[t.name] | f"number splits of {t.name}" >> beam.Map(_numbered, t.name)
            for t in self.tables
        )
        by_number = of_type(numbered | "all splits" >> beam.Flatten(), tuple[BucketKey, Split])
        rows = (
            {"rows": twice}
            | "repeated by split" >> Exchange(job=self.job, key=BucketKey)
            | "read again"
            >> Step(
                fn=partial(read_again, self.tables),
                side_inputs=(AsDict(by_number),),
                kind=tuple[str, pa.Table],
            )
            | "cut repeated"
            >> CutTables(column="key", buckets={t.name: self.buckets for t in self.tables})
        )
        return (
            {"rows": rows}
            | "repeated by key" >> Exchange(job=self.job, key=BucketKey)
            | "choose"
            >> Step(
                fn=partial(choose_in_bucket, self.tables),
                ledger=self.ledger,
                kind=tuple[BucketKey, pa.Table],
            )
        )
