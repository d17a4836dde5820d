"""The wiring of keys: read, found by bucket, rows of repeated keys resolved."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.duplicates import (
    EXCLUDED,
    REPEATED,
    choose_rows,
    find_keys,
    read_repeated,
    store_excluded,
)
from heterrec_pipeline.keys.read import SEEN, UNUSABLE, read_keys
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.vocabularies.count import FIGURES_TAG
from heterrec_pipeline.vocabularies.layout import Layout, Rules
from heterrec_pipeline.vocabularies.number import lay_out_keys
from heterrec_pipeline.vocabularies.numbering_graph import (
    STORED,
    LaidOut,
    key_rules,
    with_known,
)
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import AllToOne, Composite, Step, ValueKinds, of_type

ROWS = tuple[BucketKey, pa.Table]


class RowFilter(NamedTuple):
    """The kept rows of a side's tables.

    Attributes:
        population: number of keys.
        excluded: ((table, split), stored numbers of rows that do not count).
    """

    population: PCollection
    excluded: PCollection

    @property
    def side_inputs(self) -> tuple[Any, Any]:
        """Population and `ExcludedRows`."""
        return AsSingleton(self.population), AsDict(self.excluded)


class KeysOutput(NamedTuple):
    """The kept rows of a side, its keys in sorted buckets with their layout, and (vocabulary, kinds of keys)."""

    rows: RowFilter
    keys: LaidOut
    kinds: PCollection


def _by_number(split: Split, table: str) -> tuple[BucketKey, Split]:
    return (table, split.number), split


def _population(element: tuple[str, Layout]) -> int:
    return element[1].distinct


@dataclass(eq=False, kw_only=True)
class Keys(Composite):
    """Splits by table to the keys of a side.

    Attributes:
        job: the build.
        tables: the side's tables; the keys of the first are the side's keys.
        ledger: takes the reports.
        kinds: given for rows made from the log, where the kinds of keys were recorded.
    """

    job: Job
    tables: tuple[TableJob, ...]
    ledger: Ledger
    kinds: PCollection | None = None

    def expand(self, splits: dict[str, PCollection]) -> KeysOutput:
        """Read, exchange by key, find the keys of each bucket, resolve repeated ones."""
        rules = key_rules(self.job, self.tables[0])
        pieces, kinds, unusable = self._read(splits, rules)
        buckets, unknown, repeated, figures = (
            with_known(self.job, {rules.name: rules}, pieces)
            | "by key" >> Exchange(job=self.job, key=BucketKey)
            | "find"
            >> Step(
                fn=partial(find_keys, self.job, self.tables, rules),
                ledger=self.ledger,
                side_inputs=(AsDict(kinds),),
                tags=(EXCLUDED, REPEATED, FIGURES_TAG),
                tag_kinds={EXCLUDED: ROWS, REPEATED: ROWS, FIGURES_TAG: pa.Table},
                kind=STORED,
            )
        )
        layouts = figures | "lay out" >> AllToOne(
            fn=partial(lay_out_keys, rules),
            side_inputs=(AsIter(unusable),),
            kind=tuple[str, Layout],
        )
        population = layouts | "population" >> beam.Map(_population)
        duplicates = self._duplicates(splits, repeated, rules.buckets)
        excluded = (
            {"rows": of_type((unknown, duplicates) | "all excluded" >> beam.Flatten(), ROWS)}
            | "by split" >> Exchange(job=self.job, key=BucketKey)
            | "store excluded"
            >> Step(fn=partial(store_excluded, self.job), kind=tuple[BucketKey, TableRef])
        )
        rows = RowFilter(of_type(population, int), excluded)
        return KeysOutput(rows, LaidOut(buckets, layouts), kinds)

    def _read(
        self, splits: dict[str, PCollection], rules: Rules
    ) -> tuple[dict[str, PCollection], PCollection, PCollection]:
        """By table ((vocabulary, bucket), keys and their rows); the kinds of the first's keys; examples of rejected rows."""
        pieces, kinds, examples = {}, self.kinds, None
        for k, table in enumerate(self.tables):
            from_log = k == 0 and self.kinds is not None
            keys, seen, unusable = splits[table.name] | f"read {table.name}" >> Step(
                fn=partial(read_keys, table, from_log=from_log),
                ledger=self.ledger,
                tags=(SEEN, UNUSABLE),
                tag_kinds={UNUSABLE: str},
                spread=True,
            )
            kinds = kinds or (seen | "kinds" >> ValueKinds())
            examples = examples or unusable
            pieces[f"keys-{k}"] = keys | f"cut {table.name}" >> CutTables(
                column="key", buckets={rules.name: rules.buckets}, name=rules.name
            )
        assert kinds is not None
        assert examples is not None
        return pieces, kinds, examples

    def _duplicates(
        self, splits: dict[str, PCollection], repeated: PCollection, buckets: int
    ) -> PCollection:
        """((table, split), numbers) of the rows of repeated keys that are not kept."""
        numbered = tuple(
            splits[t.name] | f"number splits of {t.name}" >> beam.Map(_by_number, t.name)
            for t in self.tables
        )
        by_number = of_type(numbered | "all splits" >> beam.Flatten(), tuple[BucketKey, Split])
        rows = (
            {"rows": repeated}
            | "repeated by split" >> Exchange(job=self.job, key=BucketKey)
            | "read repeated"
            >> Step(
                fn=partial(read_repeated, self.tables),
                side_inputs=(AsDict(by_number),),
                kind=tuple[str, pa.Table],
            )
            | "cut repeated"
            >> CutTables(column="key", buckets={t.name: buckets for t in self.tables})
        )
        return (
            {"rows": rows}
            | "repeated by key" >> Exchange(job=self.job, key=BucketKey)
            | "choose" >> Step(fn=partial(choose_rows, self.tables), ledger=self.ledger, kind=ROWS)
        )
