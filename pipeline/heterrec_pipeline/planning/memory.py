"""Memory of a worker: a formula whose constants were measured on this code (docs/plan.md holds the figures)."""

from dataclasses import dataclass

import numpy as np

from heterrec_pipeline.fitting.quantizers import BLOCK_BYTES, PASS_BLOCKS, SLACK
from heterrec_pipeline.items.place import PART_BYTES
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.planning.output import Surveys
from heterrec_pipeline.planning.resources import token_bytes
from heterrec_pipeline.planning.survey.tables import TableSurvey
from heterrec_pipeline.reading.parquet import BATCH_BYTES, MAX_ROWS
from heterrec_pipeline.wiring.cut import FLUSH_BYTES
from heterrec_pipeline.wiring.exchange import SPILL_BYTES
from heterrec_schemas.feature_spec import EmbeddingFeature

MB = 2**20
PROCESS = 345 * MB
"""Python, Beam, Arrow and Polars, with nothing in work."""
KEY = 250
"""Bytes a key of the catalogue beside its text, where every worker holds all: the index, and what finds a key in it."""
NUMBERING = 340
"""Bytes a key while they are numbered, which is before the index is held."""
BATCH_ROW = 370
"""Bytes a row of a batch of the log: raw, read ahead, parsed and joined."""
FLUSH = 2.5
"""Times the bytes that wait to be cut into buckets: they, their sorted copy, the pieces."""
SORTED_ROW = 150
"""Bytes a row of a bucket that is sorted into histories."""
FIT = 1.1
"""Times the bytes of the blocks of dimensions that one reading fills."""
AHEAD = 4
"""So many batches are in work or read ahead."""


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a worker: what every process has, and what each step adds at its height."""

    base: int
    steps: dict[str, int]

    @property
    def peak(self) -> int:
        """The base and the largest step."""
        return self.base + max(self.steps.values(), default=0)


def memory(found: Surveys) -> Memory:
    """The memory of a worker process that takes every step once."""
    items = found.items.keys
    index = items.kept.value * (KEY + _text(found.items)) / _cut(found, ITEMS)
    numbering = items.kept.value * (NUMBERING + _text(found.items)) / _cut(found, ITEMS)
    steps = {
        "numbering keys": numbering,
        "fitting": index + _fit(found),
        "encoding": index + _encoding(found),
        "reading the log": index + _log(found),
        "sorting a bucket": index + largest_bucket(found) * SORTED_ROW,
        "writing an item shard": index + _shard(found),
    }
    return Memory(PROCESS, {name: round(size) for name, size in steps.items()})


def _text(table: TableSurvey) -> float:
    """Bytes of a key's text."""
    keys = table.keys.index["key"]
    return keys.nbytes / len(keys) if len(keys) else 0.0


def _cut(found: Surveys, vocabulary: str) -> int:
    """Into how many buckets a vocabulary is cut; 1 where every worker holds it."""
    sizes = found.job.sizes
    if not sizes.is_large(vocabulary):
        return 1
    return sizes.buckets(vocabulary, found.job.spec.items.catalogue_vocabulary.shards)


def _tables(found: Surveys) -> list[TableSurvey]:
    return [found.items, *found.joins, *([found.users] if found.users else [])]


def _fit(found: Surveys) -> float:
    """The blocks of dimensions of one reading, and the batches that fill them."""
    most = 0.0
    for table in _tables(found):
        for f in table.features:
            if isinstance(f.feature, EmbeddingFeature):
                rows = min(table.keys.kept.value, f.feature.fit_sample * SLACK)
                blocks = min(PASS_BLOCKS * BLOCK_BYTES, rows * 4 * f.feature.dim)
                most = max(most, blocks * FIT + AHEAD * min(BATCH_BYTES, blocks))
    return most


def _encoding(found: Surveys) -> float:
    """Tokens that wait for a part, their sorted copy, and the batches that they are made of."""
    return max(
        AHEAD * min(BATCH_BYTES, _bytes(t))
        + 2 * min(PART_BYTES, t.keys.kept.value * token_bytes(t))
        for t in _tables(found)
    )


def _bytes(table: TableSurvey) -> int:
    return 4 * max((f.bytes for f in table.table.files), default=0)


def _log(found: Surveys) -> float:
    """Batches, what waits to be cut into buckets, and what waits to be written to a file."""
    log, files = found.log, found.job.log
    share = max((f.bytes for f in files), default=0) / max(1, sum(f.bytes for f in files))
    batch = min(MAX_ROWS, log.read.value * share) * BATCH_ROW
    shuffled = log.shuffled * log.row_bytes
    spilled = min(SPILL_BYTES, shuffled) if found.job.spill else 0.0
    return batch + FLUSH * min(FLUSH_BYTES, shuffled) + spilled


def _shard(found: Surveys) -> float:
    """The tokens of an item shard, taken into their order, and of all items under `flattened`."""
    rows = found.items.keys.kept.value
    tokens = sum(token_bytes(t) for t in (found.items, *found.joins))
    flat = rows * tokens if found.job.spec.output.layout == "flattened" else 0.0
    return 2 * rows / found.job.spec.output.item_shards * tokens + flat


def largest_bucket(found: Surveys) -> float:
    """Rows of the largest bucket of users."""
    log, job = found.log, found.job
    if len(log.by_user.keys) == 0:
        return 0.0
    hashes = log.by_user.keys.astype(np.uint64)
    shards = np.uint64(job.spec.output.sequence_shards)
    part = (hashes >> np.uint64(32)) * np.uint64(job.buckets) >> np.uint64(32)
    bucket = ((hashes % shards) * np.uint64(job.buckets) + part).astype(np.int64)
    return float(np.bincount(bucket, weights=log.by_user.rows).max()) * log.scale
