"""The wiring of fits: vocabularies by counting, boundaries by sampling, quantizers by blocks, the large ones by bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.fitting.collect import LARGE, CollectValues, finish_fit
from heterrec_pipeline.fitting.quantizers import Pass, fit_blocks, join_blocks, plan_passes
from heterrec_pipeline.fitting.write import store_fit, write_fit
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.keys.steps import RowFilter
from heterrec_pipeline.vocabularies.cells import large_features
from heterrec_pipeline.vocabularies.number import fitted_size_of
from heterrec_pipeline.vocabularies.steps import CountValues, NumberValues, value_rules
from heterrec_pipeline.wiring.cut import BucketKey
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import EMPTY, Composite, Step, ValueKinds, nothing, of_type
from heterrec_schemas.feature_spec import CategoricalFeature


class Fits(NamedTuple):
    """(feature, `Fitted`) of a table's features, and ((vocabulary, bucket), part) of the ids of its large ones."""

    fitted: PCollection
    index: PCollection


@dataclass(eq=False, kw_only=True)
class Fit(Composite):
    """Splits of a table to its vocabularies, boundaries and quantizers."""

    job: Job
    table: TableJob
    rows: RowFilter
    ledger: Ledger
    kinds: PCollection | None = None
    """Given for rows out of the log, whose values were seen there."""

    def expand(self, splits: PCollection) -> Fits:
        """Count and sample in one reading; quantizers read for themselves."""
        table, pair = self.table, tuple[str, pa.Table]
        large = large_features(self.job, (table,))
        found, seen, counts = splits | "collect values" >> Step(
            fn=CollectValues(table, self.rows.known, frozenset(f.name for f in large)),
            ledger=self.ledger,
            side_inputs=self.rows.sides,
            tags=(SEEN, LARGE),
            tag_kinds={LARGE: pair},
            kind=pair,
            spread=True,
        )
        kinds = self.kinds or (seen | "kinds" >> ValueKinds())
        names = [(f.name, EMPTY) for f in table.value_features if f not in large]
        every = splits.pipeline | "every feature" >> beam.Create(names, reshuffle=False)
        counted = (
            (found, of_type(every, pair))
            | "with every feature" >> beam.Flatten()
            | "by feature" >> beam.GroupByKey()
            | "finish"
            >> Step(fn=partial(finish_fit, table), side_inputs=(AsDict(kinds),), kind=pair)
        )
        quantizers = splits | "quantizers" >> FitQuantizers(table=table, rows=self.rows)
        whole = of_type((counted, quantizers) | "all fits" >> beam.Flatten(), pair)
        whole | "write fits" >> Step(
            fn=partial(write_fit, self.job, table), ledger=self.ledger, side_inputs=(AsDict(kinds),)
        )
        fitted = whole | "keep fits" >> Step(
            fn=partial(store_fit, self.job, table), kind=tuple[str, Fitted]
        )
        if not large:
            return Fits(fitted, nothing(splits.pipeline, "no index", tuple[BucketKey, TableRef]))
        values = counts | "large values" >> FitLarge(
            job=self.job, table=table, large=large, kinds=kinds, ledger=self.ledger
        )
        both = (fitted, values.fitted) | "every fit" >> beam.Flatten()
        return Fits(of_type(both, tuple[str, Fitted]), values.index)


@dataclass(eq=False, kw_only=True)
class FitQuantizers(Composite):
    """Splits of a table to the quantizers of its embeddings, fitted in blocks of dimensions."""

    table: TableJob
    rows: RowFilter

    def expand(self, splits: PCollection) -> PCollection:
        """Plan, fit, join."""
        table, pair = self.table, tuple[str, pa.Table]
        return (
            splits.pipeline
            | "embeddings" >> beam.Create([f.name for f in table.embeddings], reshuffle=False)
            | "plan blocks"
            >> Step(
                fn=partial(plan_passes, table),
                side_inputs=(AsSingleton(self.rows.population),),
                kind=Pass,
            )
            | "fit blocks"
            >> Step(
                fn=partial(fit_blocks, table, known=self.rows.known),
                side_inputs=(AsIter(splits), *self.rows.sides),
                kind=pair,
                spread=True,
            )
            | "by embedding" >> beam.GroupByKey()
            | "join blocks" >> Step(fn=partial(join_blocks, table), kind=pair)
        )


@dataclass(eq=False, kw_only=True)
class FitLarge(Composite):
    """(vocabulary, partial counts) of a table's large features to written vocabularies and an index by bucket."""

    job: Job
    table: TableJob
    large: Sequence[CategoricalFeature]
    kinds: PCollection
    ledger: Ledger

    def expand(self, counts: PCollection) -> Fits:
        """Count, number."""
        rules = {r.name: r for r in (value_rules(self.job, self.table, f) for f in self.large)}
        numbered = (
            counts
            | "count" >> CountValues(job=self.job, rules=rules, kinds=self.kinds)
            | "number"
            >> NumberValues(job=self.job, rules=rules, kinds=self.kinds, ledger=self.ledger)
        )
        sizes = numbered.layouts | "sizes" >> Step(
            fn=partial(fitted_size_of, rules), kind=tuple[str, Fitted]
        )
        return Fits(sizes, numbered.index)
