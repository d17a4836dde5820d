"""The whole graph: from catalogue, embeddings and log to a published generation.

Elements are Arrow tables. The log is shuffled once, by user. A denormalised log is read again for its items, and what its
rows are reduced to is shuffled by item. Vectors of other tables are neither shuffled nor side inputs: steps that need them
read them from the input.
"""

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PCollection

from heterrec_pipeline.drift.drift_graph import MeasureDrift, MeasureFeatures
from heterrec_pipeline.interactions.log_graph import IndexedLog
from heterrec_pipeline.items.catalogue_graph import Catalogue, ItemsFromLog
from heterrec_pipeline.items.user_graph import UserFeatures
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing.publish_graph import CheckRejects, PublishGeneration
from heterrec_pipeline.sequences.sequence_graph import Histories, Splits, WriteSequences
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import Composite


@dataclass(eq=False, kw_only=True)
class BuildGeneration(Composite):
    """The root of a pipeline to the manifest of a published generation."""

    job: Job

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Turn catalogue and users into tokens, the log into sequences, and publish."""
        job, ledger = self.job, Ledger()
        interactions = root | "List the log" >> ListSplits(
            files=job.log, ledger=ledger, reuse=job.reuse, readings=job.log_readings
        )
        if job.spec.denormalised:
            items, kinds = interactions | "Items from the log" >> ItemsFromLog(
                job=job, ledger=ledger
            )
        else:
            items, kinds = (
                root
                | "List the items"
                >> ListSplits(
                    files=job.items.files,
                    ledger=ledger,
                    reuse=job.reuse,
                    readings=job.readings_of(job.items),
                ),
                None,
            )
        catalogue = items | "Catalogue" >> Catalogue(job=job, ledger=ledger, kinds=kinds)
        users = (
            root | "Users" >> UserFeatures(job=job, table=job.users, ledger=ledger)
            if job.users
            else None
        )
        log = interactions | "Log" >> IndexedLog(job=job, index=catalogue.index, ledger=ledger)
        rejects = root | "Rejects" >> CheckRejects(job=job, ledger=ledger)
        histories = log.rows | "Histories" >> Histories(
            job=job, users=users, checked=rejects, ledger=ledger
        )
        splits = histories.parts | "Splits" >> Splits(job=job, cuts=histories.cuts)
        splits | "Sequences" >> WriteSequences(
            job=job, catalogue=catalogue, users=users, kinds=log.kinds, ledger=ledger
        )
        features = root | "Features" >> MeasureFeatures(job=job, ledger=ledger)
        drift = (
            features.measured
            | "Drift" >> MeasureDrift(job=job, catalogue=catalogue, users=users, ledger=ledger)
            if job.parent
            else None
        )
        return root | "Publish" >> PublishGeneration(
            job=job,
            catalogue=catalogue,
            users=users,
            rejects=rejects,
            cuts=histories.cuts,
            drift=drift,
            summaries=features.summaries,
            ledger=ledger,
        )
