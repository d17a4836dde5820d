"""The second read of the item table: each row goes to the shard of its content. A shard's rows and their fingerprint.

Shapes: U distinct contents, R rows (keys).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.contents import read_contents
from heterrec_pipeline.embed.images import image_digest
from heterrec_pipeline.embed.job import EmbedJob, ShardPlan
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.wiring.cut import BucketKey, as_frame, cut_by_bucket

SHARD_ROWS = pl.Schema({"content": pl.String, "key": pl.String, "file": pl.Int32, "row": pl.Int64})


@dataclass(frozen=True)
class ShardRows:
    """The rows of a shard, sorted by length of the content, content, key.

    Attributes:
        rows: R rows of content, key, number of the file, number of the row; distinct in content and key.
        contents: the U distinct contents in the same order.
        index: [R] position of each row's content in `contents`.
    """

    rows: pl.DataFrame
    contents: list[Any]
    index: npt.NDArray[np.int64]


def place_rows(job: EmbedJob, split: Split, plan: ShardPlan) -> Iterator[Any]:
    """Read a split again: yields (column, rows with their shard), without the contents that lost against another."""
    losers = as_frame(load(plan.losers))
    for batch in read_contents(job, split):
        for name, rows in batch.columns.items():
            rows = rows.drop_nulls("hash")
            rows = rows.join(losers.filter(column=name), on=["key", "hash"], how="anti")
            if len(rows):  # else the contents may be of another type than those of other batches
                shard = (pl.col("hash") % plan.shards[name]).alias("shard")
                yield name, rows.select(*SHARD_ROWS, shard).to_arrow()


def start_shards(_: Any, plan: ShardPlan) -> Iterator[tuple[BucketKey, pa.Table]]:
    """Yield an empty table for each shard: a shard without rows exists, too."""
    empty = pl.DataFrame(schema=SHARD_ROWS).to_arrow()
    for column, shards in plan.shards.items():
        for shard in range(shards):
            yield (column, shard), empty


def cut_by_shard(named: list[tuple[str, pa.Table]]) -> Iterator[tuple[BucketKey, pa.Table]]:
    """Cut (column, rows with their shard) into ((column, shard), rows)."""
    by_column: dict[str, list[pa.Table]] = {}
    for column, table in named:
        by_column.setdefault(column, []).append(table)
    for column, tables in by_column.items():
        whole = pa.concat_tables(tables)
        for shard, piece in cut_by_bucket(whole.drop_columns("shard"), pl.Series(whole["shard"])):
            yield (column, shard), piece


def sort_rows(tables: Iterable[pa.Table], integral: bool) -> ShardRows:
    """Sort the rows of a shard; the order of the tables does not matter.

    Args:
        tables: at least one table of `SHARD_ROWS`, in which contents may be binary; empty ones are ignored.
        integral: whether keys are sorted as numbers.
    """
    frames = [as_frame(t) for t in tables]
    whole = pl.concat([f for f in frames if len(f)] or frames[:1]).sort("file", "row")
    whole = whole.unique(["content", "key"], keep="first", maintain_order=True)
    content = pl.col("content")
    text = whole.schema["content"] == pl.String
    length = content.str.len_bytes() if text else content.bin.size()
    key = pl.col("key").cast(pl.Int64) if integral else pl.col("key")
    # Adjacent texts of similar length keep the padding of a batch small.
    whole = whole.sort(length, "content", key)
    return ShardRows(
        whole,
        whole["content"].unique(maintain_order=True).to_list(),
        whole["content"].rle_id().cast(pl.Int64).to_numpy(),
    )


def fingerprint_of(job: EmbedJob, column: EmbeddedColumn, rows: ShardRows) -> str:
    """The SHA-256 of everything that a shard is made of.

    Excludes batch size, device and threads: they change the last bits of a vector at most, and a run that ended for lack
    of memory must be able to continue with smaller batches.
    """
    config, digest = job.config, hashlib.sha256()
    options = {
        "model": job.model.identity,
        "column": asdict(column),
        "key": config.key,
        "prompt": config.prompt,
        "prompt_name": config.prompt_name,
        "normalize": config.normalize,
    }
    digest.update(json.dumps(options, sort_keys=True).encode())
    _add(digest, [c if isinstance(c, bytes) else c.encode() for c in rows.contents])
    if column.kind == "image":
        _add(digest, [image_digest(c, config.input).encode() for c in rows.contents])
    digest.update(rows.index.tobytes())
    _add(digest, [k.encode() for k in rows.rows["key"].to_list()])
    return digest.hexdigest()


def _add(digest: Any, values: Sequence[bytes]) -> None:
    """Add the lengths, then the values: different lists add different bytes."""
    digest.update(np.array([len(values), *map(len, values)], dtype="<i8").tobytes())
    for value in values:
        digest.update(value)
