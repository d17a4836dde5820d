"""The log's wiring: check and index, group by user, split, write. Each transform is one arrow of the flow."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.catalogue.encode import Fitted
from heterrec_pipeline.catalogue.key_steps import CutTables
from heterrec_pipeline.catalogue.keys import SEEN
from heterrec_pipeline.catalogue.steps import CatalogueOutput, UsersOutput
from heterrec_pipeline.exchange import Exchange
from heterrec_pipeline.graph import AllToOne, ByShard, Composite, Kinds, Step, of_type
from heterrec_pipeline.job import ITEMS, Job
from heterrec_pipeline.publishing.ledger import Ledger
from heterrec_pipeline.publishing.parts import Part
from heterrec_pipeline.publishing.shards import Written
from heterrec_pipeline.sequences.buckets import DAYS, BuildHistories, ToBuckets, missing_user
from heterrec_pipeline.sequences.cuts import FindCuts
from heterrec_pipeline.sequences.log import (
    CheckLog,
    CheckRows,
    JoinItems,
    ReadLog,
    log_columns,
)
from heterrec_pipeline.sequences.split import ITEM_COUNTS, SplitHistories
from heterrec_pipeline.sequences.write import SumCounts, WriteItemCounts, WriteSequenceShard
from heterrec_pipeline.vocabularies.buckets import Place
from heterrec_schemas.manifest import SPLITS


class LogOutput(NamedTuple):
    """The rows of the shuffle, and the kinds of user ids."""

    rows: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class IndexedLog(Composite):
    """Splits of the log to checked rows that know their item's index."""

    job: Job
    index: PCollection
    ledger: Ledger

    def expand(self, splits: PCollection) -> LogOutput:
        """Read, check, join."""
        spec = self.job.spec
        raw = splits | "read" >> Step(
            do_fn=ReadLog(log_columns(spec)), ledger=self.ledger, spread=True
        )
        if self.job.sizes.is_large(ITEMS):
            return self._by_bucket(raw)
        rows, seen = raw | "check and index" >> Step(
            do_fn=CheckLog(spec),
            ledger=self.ledger,
            side_inputs=(AsSingleton(self.index),),
            tags=(SEEN,),
        )
        return LogOutput(rows, seen | "kinds" >> Kinds())

    def _by_bucket(self, raw: PCollection) -> LogOutput:
        """Check, and join where the items of a bucket and their interactions meet."""
        spec = self.job.spec
        shards = spec.items.catalogue_vocabulary.shards
        rows, seen = raw | "check" >> Step(
            do_fn=CheckRows(spec), ledger=self.ledger, tags=(SEEN,), kind=tuple[str, pa.Table]
        )
        cut = rows | "cut" >> CutTables(
            column="item", buckets={ITEMS: self.job.sizes.buckets(ITEMS, shards)}
        )
        joined = (
            {"log": cut, "ids": self.index}
            | "by item" >> Exchange(job=self.job, key=Place, references=("ids",))
            | "index" >> Step(do_fn=JoinItems(spec), ledger=self.ledger)
        )
        return LogOutput(joined, seen | "kinds" >> Kinds())


class HistoriesOutput(NamedTuple):
    """(bucket, part) of whole histories, and the cuts of the split."""

    parts: PCollection
    cuts: PCollection


@dataclass(eq=False, kw_only=True)
class Histories(Composite):
    """Rows to whole histories by user: the one shuffle of the log."""

    job: Job
    ledger: Ledger
    users: UsersOutput | None

    def expand(self, rows: PCollection) -> HistoriesOutput:
        """Bucket, group, sort, and find where the split cuts."""
        job = self.job
        cut = ToBuckets(job.spec.output.sequence_shards, job.buckets)
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
                do_fn=BuildHistories(job, missing_user(job.spec)),
                ledger=self.ledger,
                tags=(DAYS,),
                tag_kinds={DAYS: pa.Table},
                kind=tuple[int, Part],
            )
        )
        cuts = days | "find cuts" >> AllToOne(do_fn=FindCuts(job.spec), kind=Any)
        return HistoriesOutput(parts, cuts)


class SplitsOutput(NamedTuple):
    """((split, shard), part) of the rows of each split, and the train counts of items."""

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
            do_fn=SplitHistories(self.job),
            side_inputs=(AsSingleton(self.cuts),),
            tags=(ITEM_COUNTS,),
            tag_kinds={ITEM_COUNTS: tuple[int, pa.Table]},
            kind=tuple[tuple[str, int], Part],
            spread=True,
        )
        return SplitsOutput(rows, counts)


@dataclass(eq=False, kw_only=True)
class WriteSequences(Composite):
    """Rows of the splits to shards, and the item counts; every shard is written, empty ones too."""

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
        # Shards are written whether or not the layout needs the items: only `flattened` waits for them.
        flat = self.job.spec.output.layout == "flattened"
        none = parts.pipeline | "no items" >> beam.Create([])
        if self.users is None:
            fitted = parts.pipeline | "no user features" >> beam.Create([])
        else:
            fitted = self.users.fitted
        (
            {ITEM_COUNTS: item_counts}
            | "by item" >> Exchange(job=self.job)
            | "add up" >> Step(do_fn=SumCounts(self.job), kind=tuple[int, Part])
            | "all counts" >> ByShard(shards=(0,), kind=tuple[int, Part | None])
            | "write counts" >> Step(do_fn=WriteItemCounts(self.job), ledger=self.ledger)
        )
        return (
            parts
            | "group" >> ByShard(shards=names, kind=tuple[tuple[str, int], Part | None])
            | "write shard"
            >> Step(
                do_fn=WriteSequenceShard(self.job),
                ledger=self.ledger,
                side_inputs=(
                    AsDict(self.kinds),
                    AsDict(of_type(fitted, tuple[str, Fitted])),
                    AsDict(self.catalogue.fitted),
                    AsIter(self.catalogue.files if flat else of_type(none, Written)),
                ),
            )
        )
