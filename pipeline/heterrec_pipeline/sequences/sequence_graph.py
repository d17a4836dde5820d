"""Wiring of sequences: group the log by user, split, write. Each transform is one stage of the flow."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.items.catalogue_graph import CatalogueOutput
from heterrec_pipeline.items.user_graph import UsersOutput
from heterrec_pipeline.job import Job
from heterrec_pipeline.sequences.cuts import find_cuts
from heterrec_pipeline.sequences.histories import DAYS, build_histories, cut_by_user, missing_user
from heterrec_pipeline.sequences.split import ITEM_COUNTS, split_histories_part
from heterrec_pipeline.sequences.write import sum_counts, write_item_counts, write_sequence_shard
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.cut import FLUSH_BYTES
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import AllToOne, ByShard, Composite, Step, nothing, of_type
from heterrec_schemas.manifest import SPLITS


class HistoriesOutput(NamedTuple):
    """Whole histories as (bucket, part), and the cuts of the split."""

    parts: PCollection
    cuts: PCollection


@dataclass(eq=False, kw_only=True)
class Histories(Composite):
    """Rows to whole histories by user: the one shuffle of the log.

    Attributes:
        job: the build.
        ledger: takes the reports.
        users: the tokens of the users, if declared.
        checked: an element once the rejects are checked; nothing is built before.
    """

    job: Job
    ledger: Ledger
    users: UsersOutput | None
    checked: PCollection

    def expand(self, rows: PCollection) -> HistoriesOutput:
        """Bucket, group, sort, and find the cuts of the split."""
        job = self.job
        by_user = partial(cut_by_user, job.spec.output.sequence_shards, job.buckets)
        cut = Buffered(by_user, FLUSH_BYTES)
        pair = tuple[int, pa.Table]
        pieces = {"log": of_type(rows | "bucket rows" >> beam.ParDo(cut), pair)}
        if self.users is not None:
            tokens = self.users.tokens | "bucket users" >> beam.ParDo(cut)
            pieces["users"] = of_type(tokens, pair)
        parts, days = (
            pieces
            | "by user" >> Exchange(job=job)
            | "build"
            >> Step(
                fn=partial(build_histories, job, missing_user(job.spec)),
                ledger=self.ledger,
                side_inputs=(AsSingleton(self.checked),),
                tags=(DAYS,),
                tag_kinds={DAYS: pa.Table},
                kind=tuple[int, TableRef],
            )
        )
        cuts = days | "find cuts" >> AllToOne(
            fn=partial(find_cuts, job.spec), ledger=self.ledger, kind=Any
        )
        return HistoriesOutput(parts, cuts)


class SplitsOutput(NamedTuple):
    """The rows of each split as ((split, shard), part), and the train counts and first times of items."""

    parts: PCollection
    item_counts: PCollection


@dataclass(eq=False, kw_only=True)
class Splits(Composite):
    """Whole histories to the rows of train, validation, test and latest."""

    job: Job
    cuts: PCollection

    def expand(self, parts: PCollection) -> SplitsOutput:
        """Split every bucket."""
        rows, counts = parts | "split" >> Step(
            fn=partial(split_histories_part, self.job),
            side_inputs=(AsSingleton(self.cuts),),
            tags=(ITEM_COUNTS,),
            tag_kinds={ITEM_COUNTS: tuple[int, pa.Table]},
            kind=tuple[tuple[str, int], TableRef],
            spread=True,
        )
        return SplitsOutput(rows, counts)


@dataclass(eq=False, kw_only=True)
class WriteSequences(Composite):
    """Rows of the splits to shards, empty ones included, the item counts and the items' first times."""

    job: Job
    catalogue: CatalogueOutput
    users: UsersOutput | None
    kinds: PCollection
    ledger: Ledger

    def expand(self, splits: SplitsOutput) -> PCollection:
        """Group the references by shard, and write."""
        parts, item_counts = splits
        shards = range(self.job.spec.output.sequence_shards)
        names = [(split, shard) for split in SPLITS for shard in shards]
        # Only the layout `flattened` needs the items, and waits for them.
        flat = self.job.spec.output.layout == "flattened"
        items = self.catalogue.files if flat else nothing(parts.pipeline, "no items", Written)
        fitted = tuple[str, Fitted]
        user_fitted = (
            self.users.fitted if self.users else nothing(parts.pipeline, "no user features", fitted)
        )
        (
            {ITEM_COUNTS: item_counts}
            | "by item" >> Exchange(job=self.job)
            | "add up"
            >> Step(fn=partial(sum_counts, self.job), ledger=self.ledger, kind=tuple[int, TableRef])
            | "all counts" >> ByShard(shards=(0,), kind=tuple[int, TableRef | None])
            | "write counts" >> Step(fn=partial(write_item_counts, self.job), ledger=self.ledger)
        )
        return (
            parts
            | "group" >> ByShard(shards=names, kind=tuple[tuple[str, int], TableRef | None])
            | "write shard"
            >> Step(
                fn=partial(write_sequence_shard, self.job),
                ledger=self.ledger,
                side_inputs=(
                    AsDict(self.kinds),
                    AsDict(user_fitted),
                    AsDict(self.catalogue.fitted),
                    AsIter(items),
                ),
            )
        )
