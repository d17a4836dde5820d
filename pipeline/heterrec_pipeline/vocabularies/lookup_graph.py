"""The wiring of large categorical features: cells are joined with ids by bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from apache_beam.pvalue import PCollection

from heterrec_pipeline.job import Job
from heterrec_pipeline.vocabularies.cells import join_ids
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.step import Composite, Step, of_type
from heterrec_schemas.feature_spec import CategoricalFeature


@dataclass(eq=False, kw_only=True)
class LookUpCells(Composite):
    """(vocabulary, values of cells) to values with ids."""

    job: Job
    side: str
    large: Sequence[CategoricalFeature]
    index: PCollection

    def expand(self, cells: PCollection) -> PCollection:
        """Cut by value, join by bucket."""
        names = {f"{self.side}/{f.name}": f for f in self.large}
        buckets = {n: self.job.vocabulary_buckets(n, f.shards) for n, f in names.items()}
        cut = of_type(cells, tuple[str, pa.Table]) | "cut" >> CutTables(
            column="value", buckets=buckets
        )
        return (
            {"cells": cut, "ids": self.index}
            | "by value" >> Exchange(job=self.job, key=BucketKey, references=("ids",))
            | "look up" >> Step(fn=partial(join_ids, self.large, self.side))
        )
