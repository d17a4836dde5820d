"""The graph of an embedding run.

First read: keys and content hashes -> plan (how many shards, which rows lose).
Second read: rows -> by shard (content hash) -> encode and write -> rejects and embedding.json.
"""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsList, AsSingleton

from heterrec_pipeline.embed.contents import contents, hashes
from heterrec_pipeline.embed.publish import Publish
from heterrec_pipeline.embed.shard import EncodeShard, Shard
from heterrec_pipeline.embed.survey import (
    HASHES,
    KEYS,
    NUMBERS,
    EmbedJob,
    MakePlan,
    Plan,
    Survey,
    distinct,
    keyed,
    losers,
)
from heterrec_pipeline.features.cells import cell_text
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split, split_file
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import one_chunk, read_split
from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.carried import carried
from heterrec_pipeline.wiring.reports import REJECTS, report_rejects
from heterrec_schemas.rejects import Reason

ROWS, SHARDS = "rows", "shards"
_BUCKETED = beam.typehints.Tuple[beam.typehints.Tuple[str, int], pa.Table]


def draw(pipeline: beam.Pipeline, job: EmbedJob) -> None:
    """Draw the whole run."""
    coder.register()
    splits = (
        pipeline
        | "files" >> beam.Create(list(job.files), reshuffle=False)
        | "splits" >> beam.ParDo(SplitFiles())
        | "spread splits" >> beam.Reshuffle()
    )
    plan = AsSingleton(make_plan(pipeline, splits, job))
    placed = splits | "place rows" >> beam.ParDo(Place(job), plan).with_outputs(REJECTS, main=ROWS)
    # Every shard exists, one without a single text too.
    empty = (
        pipeline
        | "start shards" >> beam.Create([None], reshuffle=False)
        | "all shards" >> beam.FlatMap(all_shards, plan).with_output_types(_BUCKETED)
    )
    rows = placed[ROWS] | "typed rows" >> beam.Map(_same).with_output_types(_BUCKETED)
    encoded = (
        (rows, empty)
        | "rows and shards" >> beam.Flatten()
        | "rows by shard" >> beam.GroupByKey()
        | "encode" >> beam.ParDo(EncodeShard(job), plan).with_outputs(REJECTS, main=SHARDS)
    )
    rejects = (placed[REJECTS], encoded[REJECTS]) | "all rejects" >> beam.Flatten()
    # Grouped, not taken as side inputs: Beam's BundleBasedDirectRunner shows those too early.
    ends = {"shards": encoded[SHARDS], "rejects": rejects}
    _ = (
        {name: _keyed(ended, name) for name, ended in ends.items()}
        | "shards and rejects" >> beam.CoGroupByKey()
        | "publish" >> beam.ParDo(Publish(job), plan)
    )


def _keyed(ended: beam.PCollection, name: str) -> beam.PCollection:
    """Everything under one key."""
    kind = pa.Table if name == "rejects" else Shard
    pairs = beam.typehints.Tuple[int, kind]
    return ended | f"key {name}" >> beam.Map(lambda x: (0, x)).with_output_types(pairs)


def make_plan(pipeline: beam.Pipeline, splits: beam.PCollection, job: EmbedJob) -> beam.PCollection:
    """The first read, up to the plan."""
    survey = splits | "survey" >> beam.ParDo(Survey(job)).with_outputs(KEYS, HASHES, NUMBERS)
    counts = (
        survey[HASHES]
        | "typed hashes" >> beam.Map(_same).with_output_types(_BUCKETED)
        | "hashes by bucket" >> beam.GroupByKey()
        | "distinct" >> beam.Map(distinct)
        | "sum distinct" >> beam.CombinePerKey(sum)
    )
    lost = (
        survey[KEYS]
        | "typed keys" >> beam.Map(_same).with_output_types(_BUCKETED)
        | "keys by bucket" >> beam.GroupByKey()
        | "losers" >> beam.FlatMap(losers).with_output_types(pa.Table)
    )
    numbers = survey[NUMBERS] | "sum numbers" >> beam.CombinePerKey(sum)
    return (
        pipeline
        | "start plan" >> beam.Create([None], reshuffle=False)
        | "plan" >> beam.ParDo(MakePlan(job), AsDict(numbers), AsDict(counts), AsList(lost))
    )


def _same(element: Any) -> Any:
    return element


def all_shards(_: None, plan: Plan) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """A table without rows for every shard."""
    for column, shards in plan.shards.items():
        for shard in range(shards):
            yield (column, shard), pa.table({"content": pa.array([], pa.string())})


class SplitFiles(beam.DoFn):
    """Files to the pieces that are read as one."""

    @carried
    def process(self, file: Any) -> Iterator[Split]:
        """Cut one file."""
        yield from split_file(file)


class Place(beam.DoFn):
    """The second read: rows to the shard of their content; what cannot be used is set aside."""

    def __init__(self, job: EmbedJob) -> None:
        """Place for one job."""
        self.job = job

    @carried
    def process(self, split: Split, plan: Plan) -> Iterator[Any]:
        """Read one split."""
        file = split.file.name
        for batch in prefetched(read_split(split, self.job.read_columns)):
            key, _ = keyed(self.job, split, batch)
            bad = self._unusable(batch, key)
            for column in self.job.config.columns:
                found = contents(column, one_chunk(batch.table, column.name), file)
                frame = pl.DataFrame({"content": found, "key": key, "row": batch.rows})
                frame = frame.with_columns(file=pl.lit(file), hash=hashes(found))
                frame = frame.filter(pl.col("key").is_not_null(), pl.col("hash").is_not_null())
                kept, lost = without_losers(column.name, frame, plan)
                bad += [(row, column.name, Reason.DUPLICATE_ITEM, key) for row, key in lost]
                yield from by_shard(column.name, kept, plan.shards[column.name])
            yield from report_rejects("items", file, bad)

    def _unusable(
        self, batch: ReadBatch, key: pl.Series
    ) -> list[tuple[int, str, Reason, str | None]]:
        """The rejects of rows that are no rows, or have no key."""
        name = self.job.config.key
        bad: list[tuple[int, str, Reason, str | None]] = []
        bad += [(b.row, "", b.reason, b.text) for b in batch.bad]
        for k in key.is_null().arg_true().to_list():
            raw = cell_text(batch.table[name][k].as_py())
            bad.append((int(batch.rows[k]), name, Reason.MISSING_KEY, raw))
        return bad


def without_losers(
    column: str, frame: pl.DataFrame, plan: Plan
) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Rows that do not lose against another of their key, and (row, key) of the lost."""
    losers = pl.DataFrame(pl.from_arrow(plan.losers))
    mine = losers.filter(pl.col("column") == column).select("key", "hash")
    lost = frame.join(mine, on=["key", "hash"], how="semi")
    return frame.join(mine, on=["key", "hash"], how="anti"), lost.select("row", "key").rows()


def by_shard(
    column: str, frame: pl.DataFrame, shards: int
) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """Spread rows (content, key, row, file, hash) over a column's shards."""
    placed = frame.with_columns(shard=pl.col("hash") % shards)
    for (shard,), part in placed.partition_by("shard", as_dict=True).items():
        table = part.select("content", "key", "file", "row").to_arrow()
        yield (column, int(str(shard))), table
