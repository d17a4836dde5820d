"""The wiring of vocabularies: partial counts to sorted buckets, a layout, numbered values."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, PCollection

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.job import ITEMS, USERS, Job, TableJob
from heterrec_pipeline.parent import Parent
from heterrec_pipeline.vocabularies.count import (
    FIGURES_TAG,
    KNOWN_ROWS,
    count_bucket,
    find_last_kept,
    find_size_cuts,
    measure_bucket,
)
from heterrec_pipeline.vocabularies.known import known_shards, read_known
from heterrec_pipeline.vocabularies.layout import Cut, Layout, Rules
from heterrec_pipeline.vocabularies.number import (
    IN_MEMORY,
    PLACES,
    lay_out_values,
    number_group,
    to_group,
)
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import AllToOne, ByShard, Composite, Step, of_type
from heterrec_schemas.feature_spec import CategoricalFeature

STORED = tuple[BucketKey, TableRef]


class Counted(NamedTuple):
    """((vocabulary, bucket), stored table) of sorted distinct values, and the figures of the buckets."""

    buckets: PCollection
    figures: PCollection


class LaidOut(NamedTuple):
    """((vocabulary, bucket), stored table) of sorted distinct values, and (vocabulary, `Layout`)."""

    buckets: PCollection
    layouts: PCollection


class Numbered(NamedTuple):
    """((vocabulary, bucket), stored table of value and id): of large vocabularies, and of those held in memory; `PLACES`."""

    by_bucket: PCollection
    in_memory: PCollection
    places: PCollection


def value_rules(job: Job, table: TableJob, feature: CategoricalFeature) -> Rules:
    """How the values of a feature are counted and numbered."""
    name = f"{table.side}/{feature.name}"
    return Rules(
        name=name,
        table=table,
        feature=feature,
        buckets=job.vocabulary_buckets(name, feature.shards),
        oov_buckets=feature.oov_buckets,
        shards=job.vocabulary_shards(name, feature.shards),
        large=job.sizes.is_large(name),
        known=job.known(name),
    )


def key_rules(job: Job, table: TableJob) -> Rules:
    """How the keys of a side are counted, and those of the items numbered."""
    if table.side == "user":
        large = job.sizes.is_large(USERS)
        return Rules(USERS, table, None, job.sizes.buckets(USERS, None), 0, None, large, False)
    layout = job.spec.items.catalogue_vocabulary
    return Rules(
        name=ITEMS,
        table=table,
        feature=None,
        buckets=job.key_buckets,
        oov_buckets=layout.oov_buckets,
        shards=job.vocabulary_shards(ITEMS, layout.shards),
        large=job.sizes.is_large(ITEMS),
        known=job.known(ITEMS),
        keeps_retired=job.spec.keeps_retired,
    )


@dataclass(eq=False, kw_only=True)
class KnownRows(Composite):
    """The root of a pipeline to the rows that some vocabularies begin with: ((vocabulary, bucket), known rows)."""

    parent: Parent | None
    rules: dict[str, Rules]

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Read file by file."""
        return (
            root
            | "files" >> beam.Create(known_shards(list(self.rules.values())), reshuffle=False)
            | "read"
            >> Step(
                fn=partial(read_known, self.parent, self.rules),
                kind=tuple[BucketKey, pa.Table],
                spread=True,
            )
        )


def with_known(
    job: Job, rules: dict[str, Rules], pieces: dict[str, PCollection]
) -> dict[str, PCollection]:
    """The pieces of the buckets of some vocabularies, and the rows of the parent and of other systems."""
    if not any(r.known for r in rules.values()):
        return pieces
    root = next(iter(pieces.values())).pipeline
    return pieces | {
        KNOWN_ROWS: root | f"known {next(iter(rules))}" >> KnownRows(parent=job.parent, rules=rules)
    }


@dataclass(eq=False, kw_only=True)
class CountValues(Composite):
    """(vocabulary, partial counts) to sorted buckets of values."""

    job: Job
    rules: dict[str, Rules]
    kinds: PCollection

    def expand(self, counts: PCollection) -> Counted:
        """Cut by value, add up by bucket."""
        buckets = {name: r.buckets for name, r in self.rules.items()}
        sorted_buckets, figures = (
            with_known(
                self.job,
                self.rules,
                {"values": counts | "cut" >> CutTables(column="value", buckets=buckets)},
            )
            | "by value" >> Exchange(job=self.job, key=BucketKey)
            | "count"
            >> Step(
                fn=partial(count_bucket, self.job, self.rules),
                side_inputs=(AsDict(self.kinds),),
                tags=(FIGURES_TAG,),
                tag_kinds={FIGURES_TAG: pa.Table},
                kind=STORED,
            )
        )
        return Counted(sorted_buckets, figures)


def _by_vocabulary(element: tuple[BucketKey, TableRef]) -> tuple[str, TableRef]:
    return element[0][0], element[1]


def _is_limited(element: tuple[BucketKey, TableRef], limited: frozenset[str]) -> bool:
    return element[0][0] in limited


@dataclass(eq=False, kw_only=True)
class LayOut(Composite):
    """Counted buckets of values to layouts, cut at `max_size`."""

    rules: dict[str, Rules]
    kinds: PCollection

    def expand(self, counted: Counted) -> LaidOut:
        """Cut and lay out. Buckets are used several times, each time behind a `spread`: see `Step`."""
        buckets = of_type(counted.buckets, STORED)
        figures = of_type(counted.figures, pa.Table)
        limited = frozenset(name for name, r in self.rules.items() if r.limited)
        side_inputs: tuple[Any, ...] = ()
        if limited:
            cuts, figures = self._cuts(buckets, figures, limited)
            side_inputs = (AsDict(cuts),)
        layouts = figures | "lay out" >> AllToOne(
            fn=partial(lay_out_values, self.rules),
            side_inputs=side_inputs,
            kind=tuple[str, Layout],
        )
        return LaidOut(buckets, layouts)

    def _cuts(
        self, buckets: PCollection, figures: PCollection, limited: frozenset[str]
    ) -> tuple[PCollection, Any]:
        """(vocabulary, `Cut`) of the limited vocabularies, and all figures after the cuts."""
        counts = figures | "find cuts" >> AllToOne(
            fn=partial(find_size_cuts, self.rules), kind=tuple[str, Cut]
        )
        mine = of_type(buckets | "limited ones" >> beam.Filter(_is_limited, limited), STORED)
        cuts = (
            mine
            | "by vocabulary" >> beam.Map(_by_vocabulary).with_output_types(tuple[str, TableRef])
            | "every vocabulary"
            >> ByShard(shards=sorted(limited), kind=tuple[str, TableRef | None])
            | "find last"
            >> Step(
                fn=partial(find_last_kept, self.rules),
                side_inputs=(AsDict(counts), AsDict(self.kinds)),
                kind=tuple[str, Cut],
            )
        )
        measured = mine | "measure" >> Step(
            fn=partial(measure_bucket, self.rules),
            side_inputs=(AsDict(cuts), AsDict(self.kinds)),
            spread=True,
        )
        return cuts, of_type((figures, measured) | "all figures" >> beam.Flatten(), pa.Table)


@dataclass(eq=False, kw_only=True)
class NumberValues(Composite):
    """Sorted buckets to ids: merged shard by shard, and written."""

    job: Job
    rules: dict[str, Rules]
    kinds: PCollection
    ledger: Ledger

    def expand(self, laid_out: LaidOut) -> Numbered:
        """Number each group of buckets: the buckets of a shard, or a bucket that holds whole shards."""
        buckets, layouts = laid_out.buckets, laid_out.layouts
        if any(r.buckets > 1 for r in self.rules.values()):  # else the only bucket is the group
            buckets = buckets | "to groups" >> Step(
                fn=partial(to_group, self.rules),
                side_inputs=(AsDict(layouts),),
                kind=STORED,
                spread=True,
            )
        groups = [(n, b) for n, r in self.rules.items() for b in range(r.buckets)]
        outputs = (
            buckets
            | "by group" >> ByShard(shards=groups, kind=tuple[BucketKey, TableRef | None])
            | "number"
            >> Step(
                fn=partial(number_group, self.job, self.rules),
                ledger=self.ledger,
                side_inputs=(AsDict(layouts), AsDict(self.kinds)),
                tags=(IN_MEMORY, PLACES),
                tag_kinds={IN_MEMORY: STORED, PLACES: TableRef},
                kind=STORED,
            )
        )
        return Numbered(*outputs)
