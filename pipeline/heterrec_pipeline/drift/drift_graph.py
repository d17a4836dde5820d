"""Wiring of measurements: measure the files of a build and of its parent in parallel, compare by feature, write."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsIter, PCollection

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.drift.gate import Verdict
from heterrec_pipeline.drift.measure import Task, measure, parent_tasks, task_of
from heterrec_pipeline.drift.report import compare_feature, write_report
from heterrec_pipeline.drift.summary import summarise_feature
from heterrec_pipeline.items.catalogue_graph import CatalogueOutput
from heterrec_pipeline.items.user_graph import UsersOutput, fitted_users
from heterrec_pipeline.job import Job
from heterrec_pipeline.wiring.reports import FILES, Ledger
from heterrec_pipeline.wiring.step import ByShard, Composite, Step, of_type, total_counts
from heterrec_schemas.drift import FeatureDrift


class MeasuredFeatures(NamedTuple):
    """(`<side>/<feature>`, its measurements), and (`<side>/<feature>`, its statistics)."""

    measured: PCollection
    summaries: PCollection


@dataclass(eq=False, kw_only=True)
class MeasureFeatures(Composite):
    """The files of all steps so far, and the parent's, to the measurements and statistics of each feature.

    The steps must have written all tables.
    """

    job: Job
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> MeasuredFeatures:
        """Measure file by file, group by feature, summarise."""
        job = self.job
        written = self.ledger.all(FILES) | "written files" >> Step(
            fn=partial(task_of, job), kind=Task
        )
        before = root | "parent's files" >> beam.Create(parent_tasks(job), reshuffle=False)
        measured = (
            (written, of_type(before, Task))
            | "of both" >> beam.Flatten()
            | "measure" >> Step(fn=partial(measure, job), kind=tuple[str, Any], spread=True)
            | "by feature" >> ByShard(shards=features_of(job.spec), kind=tuple[str, Any])
        )
        summaries = measured | "summarise" >> Step(
            fn=partial(summarise_feature, job), kind=tuple[str, Any]
        )
        return MeasuredFeatures(measured, summaries)


@dataclass(eq=False, kw_only=True)
class MeasureDrift(Composite):
    """The output of `MeasureFeatures` to `drift.json` and a `Verdict`."""

    job: Job
    catalogue: CatalogueOutput
    users: UsersOutput | None
    ledger: Ledger

    def expand(self, measured: PCollection) -> PCollection:
        """Compare, write."""
        job, ledger, root = self.job, self.ledger, measured.pipeline
        counts = total_counts(ledger)
        user_fitted = fitted_users(root, self.users)
        features = measured | "compare" >> Step(
            fn=partial(compare_feature, job),
            side_inputs=(AsDict(self.catalogue.fitted), AsDict(user_fitted), AsDict(counts)),
            kind=FeatureDrift,
        )
        return (
            root
            | "once" >> beam.Create([None])
            | "write"
            >> Step(
                fn=partial(write_report, job),
                ledger=ledger,
                side_inputs=(AsIter(features), AsDict(counts)),
                kind=Verdict,
            )
        )
