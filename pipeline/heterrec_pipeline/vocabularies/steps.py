"""The wiring of large vocabularies: sorted buckets to numbered ones."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, PCollection

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.vocabularies.layout import Cut, Layout, Rules
from heterrec_pipeline.vocabularies.number import (
    FIGURES_TAG,
    count_bucket,
    find_last_kept,
    find_size_cuts,
    lay_out_vocabularies,
    measure_bucket,
    number_group,
    to_group,
)
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import AllToOne, ByShard, Composite, Step, of_type
from heterrec_schemas.feature_spec import CategoricalFeature


class Counted(NamedTuple):
    """((vocabulary, bucket), stored) of sorted distinct values, and the buckets' figures."""

    buckets: PCollection
    figures: PCollection


class Numbered(NamedTuple):
    """((vocabulary, bucket), part) of values and ids, and (vocabulary, `Layout`)."""

    index: PCollection
    layouts: PCollection


def _by_vocabulary(element: tuple[BucketKey, TableRef]) -> tuple[str, TableRef]:
    return element[0][0], element[1]


def _is_limited(element: tuple[BucketKey, TableRef], limited: frozenset[str]) -> bool:
    return element[0][0] in limited


@dataclass(eq=False, kw_only=True)
class NumberValues(Composite):
    """Counted buckets to ids: cut at `max_size`, laid out in shards, merged shard by shard, written."""

    job: Job
    rules: dict[str, Rules]
    kinds: PCollection
    ledger: Ledger

    def expand(self, counted: Counted) -> Numbered:
        """Cut, lay out, number. Buckets are taken again and again, each time behind a `spread`: see `Step`."""
        buckets = of_type(counted.buckets, tuple[BucketKey, TableRef])
        figures = of_type(counted.figures, pa.Table)
        cuts = buckets.pipeline | "no cuts" >> beam.Create([])
        cuts = of_type(cuts, tuple[str, Cut])
        limited = frozenset(n for n, r in self.rules.items() if r.max_size is not None)
        if limited:
            cuts = self._cuts(buckets, figures, limited)
            cut = buckets | "of cut ones" >> beam.Filter(_is_limited, limited)
            measured = of_type(cut, tuple[BucketKey, TableRef]) | "measure" >> Step(
                fn=partial(measure_bucket, self.rules),
                side_inputs=(AsDict(cuts), AsDict(self.kinds)),
                spread=True,
            )
            figures = of_type((figures, measured) | "all figures" >> beam.Flatten(), pa.Table)
        layouts = figures | "lay out" >> AllToOne(
            fn=partial(lay_out_vocabularies, self.rules), kind=tuple[str, Layout]
        )
        groups = [(n, b) for n, r in self.rules.items() for b in range(r.buckets)]
        index = (
            buckets
            | "to groups"
            >> Step(
                fn=partial(to_group, self.rules),
                side_inputs=(AsDict(layouts),),
                kind=tuple[BucketKey, TableRef],
                spread=True,
            )
            | "by group" >> ByShard(shards=groups, kind=tuple[BucketKey, TableRef | None])
            | "number"
            >> Step(
                fn=partial(number_group, self.job, self.rules),
                ledger=self.ledger,
                side_inputs=(AsDict(layouts), AsDict(cuts), AsDict(self.kinds)),
                kind=tuple[BucketKey, TableRef],
            )
        )
        return Numbered(index, layouts)

    def _cuts(self, buckets: PCollection, figures: PCollection, limited: frozenset[str]) -> Any:
        """(vocabulary, `Cut`) of the vocabularies that `max_size` limits."""
        counts = figures | "find cuts" >> AllToOne(
            fn=partial(find_size_cuts, self.rules), kind=tuple[str, Cut]
        )
        ones = buckets | "of limited ones" >> beam.Filter(_is_limited, limited)
        return (
            of_type(ones, tuple[BucketKey, TableRef])
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


def value_rules(job: Job, table: TableJob, feature: CategoricalFeature) -> Rules:
    """How a large feature's values are counted and numbered."""
    name = f"{table.side}/{feature.name}"
    buckets = job.sizes.buckets(name, feature.shards)
    return Rules(name, table, feature, buckets, feature.oov_buckets, feature.shards)


def key_rules(job: Job, table: TableJob) -> Rules:
    """How the items' keys are numbered."""
    layout = job.spec.items.catalogue_vocabulary
    buckets = job.sizes.buckets(ITEMS, layout.shards)
    return Rules(ITEMS, table, None, buckets, layout.oov_buckets, layout.shards)


@dataclass(eq=False, kw_only=True)
class CountValues(Composite):
    """(vocabulary, partial counts) to sorted buckets of values."""

    job: Job
    rules: dict[str, Rules]
    kinds: PCollection

    def expand(self, counts: PCollection) -> Counted:
        """Cut by value, add up by bucket."""
        buckets = {name: r.buckets for name, r in self.rules.items()}
        found, figures = (
            {"values": counts | "cut" >> CutTables(column="value", buckets=buckets)}
            | "by value" >> Exchange(job=self.job, key=BucketKey)
            | "count"
            >> Step(
                fn=partial(count_bucket, self.job, self.rules),
                side_inputs=(AsDict(self.kinds),),
                tags=(FIGURES_TAG,),
                tag_kinds={FIGURES_TAG: pa.Table},
                kind=tuple[BucketKey, TableRef],
            )
        )
        return Counted(found, figures)
