"""The wiring of fits: vocabularies from counts, boundaries from samples, quantizers by blocks of dimensions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.features.kinds import SampledKind, value_kind
from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.fitting.collect import COUNTS, CollectValues, fit_sample
from heterrec_pipeline.fitting.judge import judge_tokens
from heterrec_pipeline.fitting.quantizers import (
    SAMPLED,
    Pass,
    fit_blocks,
    join_blocks,
    plan_passes,
    reduce_embedding,
)
from heterrec_pipeline.fitting.write import copy_fit, write_fit
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.key_graph import RowFilter
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.vocabularies.number import fitted_vocabulary
from heterrec_pipeline.vocabularies.numbering_graph import (
    STORED,
    CountValues,
    LayOut,
    Numbered,
    NumberValues,
    value_rules,
)
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import EMPTY, Composite, Step, ValueKinds, nothing, of_type
from heterrec_schemas.feature_spec import CategoricalFeature, Feature

FIT = tuple[str, pa.Table]
JUDGED = tuple[str, Any]


class Fits(NamedTuple):
    """(feature, `Fitted`) of all features of a side, and the ids of its vocabularies."""

    fitted: PCollection
    ids: Numbered


class FittedSide(NamedTuple):
    """The `Fits` of a side, and (`<side>/<feature>`, what its tokens keep) of the embeddings that were fitted."""

    fitted: PCollection
    ids: Numbered
    judged: PCollection


@dataclass(eq=False, kw_only=True)
class Fit(Composite):
    """Splits by table to the vocabularies, boundaries and quantizers of a side.

    Attributes:
        job: the build.
        tables: the side's tables.
        rows: their kept rows.
        ledger: takes the reports.
        kinds: given when the first table is made from the log, where the kinds of values were recorded.
    """

    job: Job
    tables: tuple[TableJob, ...]
    rows: RowFilter
    ledger: Ledger
    kinds: PCollection | None = None

    def expand(self, splits: dict[str, PCollection]) -> FittedSide:
        """Collect values in one reading per table, fit, and write."""
        to_fit = tuple(self.job.to_fit(t) for t in self.tables)
        samples, counts, kinds = self._collect(splits, to_fit)
        fits = [samples | "samples" >> FitSamples(tables=to_fit)]
        reductions = {
            t.name: self._reduce(t, splits[t.name])
            for t in to_fit
            if any(f.reduce is not None for f in t.embeddings)
        }
        with_embeddings = [t for t in to_fit if t.embeddings]
        quantized = [
            splits[t.name]
            | f"quantizers of {t.name}"
            >> FitQuantizers(
                table=t,
                rows=self.rows,
                parts=self.job.parts,
                reductions=reductions.get(t.name),
            )
            for t in with_embeddings
        ]
        fits += [one.fits for one in quantized]
        tables = of_type(tuple(fits) | "all fits" >> beam.Flatten(), FIT) | "write fits" >> Step(
            fn=partial(write_fit, self.job, self.tables),
            ledger=self.ledger,
            kind=tuple[str, Fitted],
        )
        vocabularies = counts | "vocabularies" >> FitVocabularies(
            job=self.job, tables=self.tables, kinds=kinds, ledger=self.ledger
        )
        every = (
            *(tables, vocabularies.fitted),
            *reductions.values(),
            *self._frozen(counts.pipeline),
        )
        fitted = of_type(every | "fitted" >> beam.Flatten(), tuple[str, Fitted])
        judged = [
            one.sampled
            | f"judge {t.name}"
            >> Step(fn=partial(judge_tokens, t), side_inputs=(AsDict(fitted),), kind=JUDGED)
            for t, one in zip(with_embeddings, quantized, strict=True)
        ]
        every_judged = (
            *judged,
            nothing(counts.pipeline, "none judged", JUDGED),
        ) | "judged" >> beam.Flatten()
        return FittedSide(fitted, vocabularies.ids, of_type(every_judged, JUDGED))

    def _reduce(self, table: TableJob, splits: PCollection) -> PCollection:
        """(feature and suffix, `Fitted`) of the embeddings of a table that have a reduction."""
        names = [f.name for f in table.embeddings if f.reduce is not None]
        return (
            splits.pipeline
            | f"reduced in {table.name}" >> beam.Create(names, reshuffle=False)
            | f"reduce in {table.name}"
            >> Step(
                fn=partial(reduce_embedding, table),
                side_inputs=(AsIter(splits), *self.rows.side_inputs),
                kind=FIT,
                spread=True,
            )
            | f"write reductions of {table.name}"
            >> Step(
                fn=partial(write_fit, self.job, self.tables),
                ledger=self.ledger,
                kind=tuple[str, Fitted],
            )
        )

    def _frozen(self, root: beam.Pipeline) -> list[PCollection]:
        """(feature, `Fitted`) of the features that keep the parent's table."""
        side = self.tables[0].side
        frozen = [f for t in self.tables for f in t.features if self.job.is_frozen(side, f)]
        if not frozen:
            return []
        features = root | "frozen" >> beam.Create(frozen, reshuffle=False)
        return [
            features
            | "copy fits"
            >> Step(
                fn=partial(copy_fit, self.job, side), ledger=self.ledger, kind=tuple[str, Fitted]
            )
        ]

    def _collect(
        self, splits: dict[str, PCollection], tables: tuple[TableJob, ...]
    ) -> tuple[PCollection, PCollection, PCollection]:
        """(feature, sample), (vocabulary, counts) and (vocabulary, kinds of values) of all tables."""
        samples, counts = [], []
        kinds = [] if self.kinds is None else [self.kinds]
        for table in tables:
            sampled, seen, counted = splits[table.name] | f"collect {table.name}" >> Step(
                fn=CollectValues(table),
                ledger=self.ledger,
                side_inputs=self.rows.side_inputs,
                tags=(SEEN, COUNTS),
                tag_kinds={SEEN: tuple[str, int], COUNTS: FIT},
                kind=FIT,
                spread=True,
            )
            samples.append(sampled)
            counts.append(counted)
            if self.kinds is None or table.joined:
                kinds.append(seen)
        return (
            of_type(tuple(samples) | "all samples" >> beam.Flatten(), FIT),
            of_type(tuple(counts) | "all counts" >> beam.Flatten(), FIT),
            of_type(tuple(kinds) | "all kinds" >> beam.Flatten(), tuple[str, int])
            | "kinds" >> ValueKinds(),
        )


def _fit_sample(
    sampled: dict[str, tuple[TableJob, Feature]], element: tuple[str, Iterable[pa.Table]]
) -> Iterator[FIT]:
    name, parts = element
    yield from fit_sample(*sampled[name], parts)


@dataclass(eq=False, kw_only=True)
class FitSamples(Composite):
    """(feature, sample) to fitted tables."""

    tables: tuple[TableJob, ...]

    def expand(self, samples: PCollection) -> PCollection:
        """Group by feature; a feature without a sample has a group too, whose fit fails."""
        sampled = {
            f.name: (t, f)
            for t in self.tables
            for f in t.value_features
            if isinstance(value_kind(f), SampledKind)
        }
        if not sampled:
            return nothing(samples.pipeline, "no samples", FIT)
        every = samples.pipeline | "every feature" >> beam.Create(
            [(name, EMPTY) for name in sampled], reshuffle=False
        )
        return (
            (samples, of_type(every, FIT))
            | "with every feature" >> beam.Flatten()
            | "by feature" >> beam.GroupByKey()
            | "fit" >> Step(fn=partial(_fit_sample, sampled), kind=FIT)
        )


@dataclass(eq=False, kw_only=True)
class FitVocabularies(Composite):
    """(vocabulary, partial counts) of all tables to written vocabularies."""

    job: Job
    tables: tuple[TableJob, ...]
    kinds: PCollection
    ledger: Ledger

    def expand(self, counts: PCollection) -> Fits:
        """Count, lay out, number."""
        every = [
            value_rules(self.job, t, f)
            for t in self.tables
            for f in t.features
            if isinstance(f, CategoricalFeature)
        ]
        if not every:
            none = nothing(counts.pipeline, "no ids", STORED)
            fitted = nothing(counts.pipeline, "no vocabularies", tuple[str, Fitted])
            return Fits(fitted, Numbered(none, none, none))
        rules = {r.name: r for r in every}
        laid_out = (
            counts
            | "count" >> CountValues(job=self.job, rules=rules, kinds=self.kinds)
            | "layout" >> LayOut(rules=rules, kinds=self.kinds)
        )
        numbered = laid_out | "number" >> NumberValues(
            job=self.job, rules=rules, kinds=self.kinds, ledger=self.ledger
        )
        fitted = laid_out.layouts | "sizes" >> Step(
            fn=partial(fitted_vocabulary, rules), kind=tuple[str, Fitted]
        )
        return Fits(fitted, numbered)


class Quantized(NamedTuple):
    """(feature, quantizer), and (feature, reference to the table of a `VectorSample`)."""

    fits: PCollection
    sampled: PCollection


@dataclass(eq=False, kw_only=True)
class FitQuantizers(Composite):
    """Splits of a table to the quantizers of its embeddings, fitted in blocks of dimensions, and samples of their vectors.

    Attributes:
        table: the table.
        rows: its kept rows.
        parts: the folder of the samples.
        reductions: (feature and suffix, `Fitted`) of the embeddings with `reduce`, if there are any.
    """

    table: TableJob
    rows: RowFilter
    parts: str
    reductions: PCollection | None

    def expand(self, splits: PCollection) -> Quantized:
        """Plan, fit, join."""
        table = self.table
        reductions = () if self.reductions is None else (AsDict(self.reductions),)
        blocks, sampled = (
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
                fn=partial(fit_blocks, table, self.parts),
                side_inputs=(AsIter(splits), *self.rows.side_inputs, *reductions),
                tags=(SAMPLED,),
                tag_kinds={SAMPLED: tuple[str, TableRef]},
                kind=FIT,
                spread=True,
            )
        )
        fits = (
            blocks
            | "by embedding" >> beam.GroupByKey()
            | "join blocks" >> Step(fn=partial(join_blocks, table), kind=FIT)
        )
        return Quantized(fits, sampled)
