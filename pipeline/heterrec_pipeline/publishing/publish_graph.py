"""Wiring of publishing: check the rejects as soon as they are known; hash the inputs, then commit in one step."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.items.catalogue_graph import CatalogueOutput
from heterrec_pipeline.items.user_graph import UsersOutput, fitted_users
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing.publish import publish_generation
from heterrec_pipeline.publishing.rejects import write_rejects
from heterrec_pipeline.reading.fingerprints import hash_inputs
from heterrec_pipeline.wiring.reports import FILES, REJECTS, Ledger
from heterrec_pipeline.wiring.step import AllToOne, Composite, Step, of_type, total_counts
from heterrec_schemas.manifest import Manifest


@dataclass(eq=False, kw_only=True)
class CheckRejects(Composite):
    """The rejects of the steps so far, which have read all tables, to `rejects/` and a `RejectSummary`.

    Steps that take the summary as a side input begin only if no source has too many rejects.
    """

    job: Job
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Add up the rows, compare, write."""
        rows = total_counts(self.ledger)
        return self.ledger.all(REJECTS) | "write rejects" >> AllToOne(
            fn=partial(write_rejects, self.job),
            ledger=self.ledger,
            side_inputs=(AsDict(rows),),
            kind=Any,
        )


@dataclass(eq=False, kw_only=True)
class PublishGeneration(Composite):
    """All reports to the manifest; side inputs make the commit wait for all files.

    Attributes:
        drift: the verdict on the drift of a refresh; None in a build.
        summaries: (`<side>/<feature>`, its statistics).
    """

    job: Job
    catalogue: CatalogueOutput
    users: UsersOutput | None
    rejects: PCollection
    cuts: PCollection
    drift: PCollection | None
    summaries: PCollection
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Collect the reports, then publish once."""
        job, ledger = self.job, self.ledger
        counts = total_counts(ledger)
        known = job.reuse.files if job.reuse else {}
        inputs = (
            root
            | "inputs" >> beam.Create([job.input_files])
            | "hash inputs" >> Step(fn=partial(hash_inputs, known=known), kind=Any)
        )
        user_fitted = fitted_users(root, self.users)
        judged = [side.judged for side in (self.catalogue, self.users) if side is not None]
        judged = of_type(tuple(judged) | "judged" >> beam.Flatten(), tuple[str, Any])
        return (
            root
            | "once" >> beam.Create([None])
            | "commit"
            >> Step(
                fn=partial(publish_generation, job),
                side_inputs=(
                    AsDict(counts),
                    AsIter(ledger.all(FILES)),
                    AsSingleton(self.rejects),
                    AsIter(inputs),
                    AsSingleton(self.cuts),
                    AsDict(self.catalogue.fitted),
                    AsDict(user_fitted),
                    AsDict(self.summaries),
                    AsIter(judged),
                    *((AsSingleton(self.drift),) if self.drift is not None else ()),
                ),
                kind=Manifest,
            )
        )
