"""The graph of an embedding run: the item table in, shards of vectors and `embedding.json` out.

The table is read twice. The first read exchanges keys and hashes only and determines the number of shards; the second sends
each row to the shard of its content.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection
from apache_beam.utils.shared import Shared

from heterrec_pipeline.embed.encode import VectorShard, encode_shard
from heterrec_pipeline.embed.job import EmbedJob, ShardPlan
from heterrec_pipeline.embed.publish import publish_vectors
from heterrec_pipeline.embed.shard_rows import cut_by_shard, place_rows, start_shards
from heterrec_pipeline.embed.survey import (
    HASHES,
    count_distinct,
    find_losers,
    join_losers,
    plan_shards,
    read_hashes,
)
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.cut import FLUSH_BYTES, BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import ByReference, Exchange
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS, Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import AllToOne, Composite, Step, ValueKinds, of_type

NAMED = tuple[str, pa.Table]
"""A column and a table of it."""
PLACED = tuple[BucketKey, pa.Table]
"""A shard, as column and number, and a table of its rows."""


@dataclass(eq=False, kw_only=True)
class EmbedTable(Composite):
    """A pipeline's root to a published folder of vectors."""

    job: EmbedJob

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Plan the shards, send each row to its shard, encode, publish."""
        job, ledger = self.job, Ledger()
        splits = root | "List the items" >> ListSplits(files=job.files)
        plan = AsSingleton(splits | "Survey" >> PlanShards(job=job, ledger=ledger))
        rows = splits | "Place" >> PlaceRows(job=job, plan=plan)
        every = (
            root
            | "Once" >> beam.Create([None])
            | "Every shard" >> Step(fn=start_shards, side_inputs=(plan,), kind=PLACED)
        )
        # Beam pickles the handle of the encoder: one model per worker process.
        encode = partial(encode_shard, job, Shared())
        # Not flattened: local engines keep what goes into a Flatten in memory, before it can be spilled.
        shards = (
            {"rows": rows, "every": every}
            | "By shard" >> Exchange(job=job, key=BucketKey)
            | "Encode" >> Step(fn=encode, ledger=ledger, side_inputs=(plan,), kind=VectorShard)
        )
        return ledger.all(REJECTS) | "Publish" >> AllToOne(
            fn=partial(publish_vectors, job), side_inputs=(plan, AsIter(shards)), kind=Any
        )


@dataclass(eq=False, kw_only=True)
class PlanShards(Composite):
    """Splits to the findings of the first read, a `ShardPlan`."""

    job: EmbedJob
    ledger: Ledger

    def expand(self, splits: PCollection) -> PCollection:
        """Exchange keys and hashes, count, plan."""
        job, ledger = self.job, self.ledger
        buckets = {c.name: job.buckets for c in job.config.columns}
        keys, hashes, kinds = splits | "read" >> Step(
            fn=partial(read_hashes, job),
            ledger=ledger,
            tags=(HASHES, SEEN),
            kind=NAMED,
            tag_kinds={HASHES: NAMED},
            spread=True,
        )
        losers = (
            {"rows": keys | "cut by key" >> CutTables(column="key", buckets=buckets)}
            | "by key" >> Exchange(job=job, key=BucketKey)
            | "find losers" >> Step(fn=partial(find_losers, job), ledger=ledger)
            | "join losers" >> AllToOne(fn=join_losers)
            | "keep losers" >> ByReference(job=job, stem="losers")
        )
        (
            {"rows": hashes | "cut by hash" >> CutTables(column="hash", buckets=buckets)}
            | "by hash" >> Exchange(job=job, key=BucketKey)
            | "count distinct" >> Step(fn=count_distinct, ledger=ledger)
        )
        counts = of_type(ledger.all(COUNTS), tuple[str, int]) | "add up" >> beam.CombinePerKey(sum)
        sides = (AsDict(counts), AsDict(kinds | "kinds" >> ValueKinds()), AsSingleton(losers))
        return (
            splits.pipeline
            | "once" >> beam.Create([None])
            | "plan" >> Step(fn=partial(plan_shards, job), side_inputs=sides, kind=ShardPlan)
        )


@dataclass(eq=False, kw_only=True)
class PlaceRows(Composite):
    """Splits to ((column, shard), rows)."""

    job: EmbedJob
    plan: AsSingleton

    def expand(self, splits: PCollection) -> PCollection:
        """Read again, cut by shard."""
        rows = splits | "read" >> Step(
            fn=partial(place_rows, self.job), side_inputs=(self.plan,), kind=NAMED, spread=True
        )
        cut = rows | "cut by shard" >> beam.ParDo(Buffered(cut_by_shard, FLUSH_BYTES))
        return of_type(cut, PLACED)
