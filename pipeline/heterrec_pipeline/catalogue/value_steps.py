"""The wiring of large categorical features: values counted by bucket, cells looked up by bucket."""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsSingleton, PCollection

from heterrec_pipeline.catalogue.key_steps import CutTables
from heterrec_pipeline.catalogue.long import OWNER, LookUp, PlaceUsers
from heterrec_pipeline.catalogue.spared import PlaceCells, PlaceItems
from heterrec_pipeline.exchange import Exchange
from heterrec_pipeline.graph import Composite, Step, of_type
from heterrec_pipeline.job import ITEMS, USERS, Job, TableJob
from heterrec_pipeline.publishing.ledger import Ledger
from heterrec_pipeline.publishing.parts import Part, Stored
from heterrec_pipeline.vocabularies.buckets import Place
from heterrec_pipeline.vocabularies.number import FIGURES_TAG, CountBuckets
from heterrec_pipeline.vocabularies.plan import Rules
from heterrec_pipeline.vocabularies.steps import Counted
from heterrec_schemas.spec import CategoricalFeature


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
            | "by value" >> Exchange(job=self.job, key=Place)
            | "count"
            >> Step(
                do_fn=CountBuckets(self.job, self.rules),
                side_inputs=(AsDict(self.kinds),),
                tags=(FIGURES_TAG,),
                tag_kinds={FIGURES_TAG: pa.Table},
                kind=tuple[Place, Stored],
            )
        )
        return Counted(found, figures)


@dataclass(eq=False, kw_only=True)
class LookUpCells(Composite):
    """(vocabulary, cells in long form) to cells with ids."""

    job: Job
    side: str
    large: Sequence[CategoricalFeature]
    index: PCollection

    def expand(self, cells: PCollection) -> PCollection:
        """Cut by value, join by bucket."""
        names = {f"{self.side}/{f.name}": f for f in self.large}
        buckets = {name: self.job.sizes.buckets(name, f.shards) for name, f in names.items()}
        cut = of_type(cells, tuple[str, pa.Table]) | "cut" >> CutTables(
            column="value", buckets=buckets
        )
        return (
            {"cells": cut, "ids": self.index}
            | "by value" >> Exchange(job=self.job, key=Place, references=("ids",))
            | "look up" >> Step(do_fn=LookUp(self.large, self.side))
        )


@dataclass(eq=False, kw_only=True)
class PlaceByItem(Composite):
    """Cells with ids, and the tokens of each table where the items' ids are not at hand, to parts of item shards.

    Attributes:
        job: the build.
        tables: the catalogue's tables.
        large: the names of its large features.
        population: how many items there are.
        index: ((items, bucket), part) of keys and ids; None where cells name their item by its index.
        tokens: (items, tokens) by table, with keys as OWNER.
    """

    job: Job
    tables: Sequence[TableJob]
    large: Sequence[str]
    population: PCollection
    index: PCollection | None
    tokens: dict[str, PCollection]

    def expand(self, cells: PCollection) -> PCollection:
        """Join by key where need be, then cut by shard."""
        population, kind = (AsSingleton(self.population),), tuple[int, Part]
        if self.index is None:
            return cells | "place cells" >> Step(
                do_fn=PlaceCells(self.job, self.large), side_inputs=population, kind=kind
            )
        shards = self.job.spec.items.catalogue_vocabulary.shards
        buckets = {ITEMS: self.job.sizes.buckets(ITEMS, shards)}
        cut = cells | "cut" >> CutTables(column=OWNER, buckets=buckets, name=ITEMS)
        pieces = {"ids": self.index, "cells": cut}
        for k, table in enumerate(self.tables):
            tokens = of_type(self.tokens[table.name], tuple[str, pa.Table])
            pieces[f"tokens-{k}"] = tokens | f"cut {table.name}" >> CutTables(
                column=OWNER, buckets=buckets
            )
        return (
            pieces
            | "by item" >> Exchange(job=self.job, key=Place, references=("ids",))
            | "place"
            >> Step(
                do_fn=PlaceItems(self.job, self.tables, self.large),
                side_inputs=population,
                kind=kind,
            )
        )


@dataclass(eq=False, kw_only=True)
class PlaceByUser(Composite):
    """Users' tokens, and the cells of their large features, to whole tokens."""

    job: Job
    table: TableJob
    large: Sequence[CategoricalFeature]
    ledger: Ledger
    cells: PCollection

    def expand(self, tokens: PCollection) -> PCollection:
        """Group by user, join."""
        buckets = {USERS: self.job.sizes.buckets(USERS, None)}
        return (
            {
                "tokens": tokens | "cut" >> CutTables(column="user", buckets=buckets, name=USERS),
                "cells": self.cells
                | "cut cells" >> CutTables(column=OWNER, buckets=buckets, name=USERS),
            }
            | "by user" >> Exchange(job=self.job, key=Place)
            | "join" >> Step(do_fn=PlaceUsers(self.table, self.large), ledger=self.ledger)
        )


def nothing(pipeline: beam.Pipeline, label: str, kind: object) -> PCollection:
    """An empty collection."""
    return of_type(pipeline | label >> beam.Create([]), kind)
