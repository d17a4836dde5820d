"""The wiring of `place`: tokens and cells meet by bucket of their item or user."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.items.place import place_cells, place_items, place_users
from heterrec_pipeline.job import ITEMS, USERS, Job, TableJob
from heterrec_pipeline.vocabularies.cells import OWNER
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import Composite, Step, of_type
from heterrec_schemas.feature_spec import CategoricalFeature


@dataclass(eq=False, kw_only=True)
class PlaceByItem(Composite):
    """Values with ids, and the tokens of each table where the items' ids are not in memory, to parts of item shards.

    Attributes:
        job: the build.
        tables: the catalogue's tables.
        large: names of the large features.
        cuts: the borders of item shards (`ItemCuts`).
        index: ((items, bucket), stored table of key and id); None where values name their item by its index.
        tokens: (items, tokens) by table, with keys as OWNER.
    """

    job: Job
    tables: Sequence[TableJob]
    large: Sequence[str]
    cuts: PCollection
    index: PCollection | None
    tokens: dict[str, PCollection]

    def expand(self, cells: PCollection) -> PCollection:
        """Join by key where necessary, then cut by shard."""
        cuts, kind = (AsSingleton(self.cuts),), tuple[int, TableRef]
        if self.index is None:
            return cells | "place cells" >> Step(
                fn=partial(place_cells, self.job, self.large), side_inputs=cuts, kind=kind
            )
        buckets = {ITEMS: self.job.key_buckets}
        cut = cells | "cut" >> CutTables(column=OWNER, buckets=buckets, name=ITEMS)
        pieces = {"ids": self.index, "cells": cut}
        for k, table in enumerate(self.tables):
            tokens = of_type(self.tokens[table.name], tuple[str, pa.Table])
            pieces[f"tokens-{k}"] = tokens | f"cut {table.name}" >> CutTables(
                column=OWNER, buckets=buckets
            )
        return (
            pieces
            | "by item" >> Exchange(job=self.job, key=BucketKey, references=("ids",))
            | "place"
            >> Step(
                fn=partial(place_items, self.job, self.tables, self.large),
                side_inputs=cuts,
                kind=kind,
            )
        )


@dataclass(eq=False, kw_only=True)
class PlaceByUser(Composite):
    """Users' tokens, and the values of their large features, to tables of all tokens."""

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
            | "by user" >> Exchange(job=self.job, key=BucketKey)
            | "join" >> Step(fn=partial(place_users, self.table, self.large), ledger=self.ledger)
        )
