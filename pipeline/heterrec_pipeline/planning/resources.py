"""Estimates the resources of a running build: bytes through the shuffle, parts on disk, memory per worker, buckets.

Memory is a formula with constants measured on this code (see docs/plan.md).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from heterrec_pipeline.fitting.quantizers import passes
from heterrec_pipeline.fitting.sample import SLACK
from heterrec_pipeline.interactions.read import shuffle_columns
from heterrec_pipeline.items.place import PART_BYTES
from heterrec_pipeline.job import ITEMS, USERS, TableJob
from heterrec_pipeline.planning.figures import ITEMS_STAGE, Figures
from heterrec_pipeline.reading.formats.parquet import BATCH_BYTES, MAX_ROWS
from heterrec_pipeline.sequences.split import ITEM_COUNTS, RANGE_ITEMS
from heterrec_pipeline.wiring.cut import FLUSH_BYTES
from heterrec_pipeline.wiring.exchange import SPILL_BYTES
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    CodebookEmbedding,
    EmbeddingFeature,
    Feature,
    LeaveOneOut,
)
from heterrec_schemas.reductions import sample_limit

PIECE = 1024
"""Bytes that each piece of a table adds to an Arrow file: message, padding and footer entry."""
KEY_ROW = 24
"""Bytes per key in the exchange of keys, beside its text: offset, split and row."""
VALUE_ROW = 32
"""Bytes per distinct value in the exchange of counts, about: a text of 16 bytes, offset and count."""
CELLS = 4
"""Approximate number of values per multivalued cell."""
PROCESS = 345 * 2**20
"""Bytes of an idle process: Python, Beam, Arrow and Polars."""
KEY = 250
"""Bytes per key of the catalogue, without its text, in a worker that holds the whole index."""
NUMBERING = 340
"""Bytes per key, without its text, while keys are numbered."""
BATCH_ROW = 370
"""Bytes per row of a batch of the log: raw, prefetched, parsed and joined."""
FLUSH = 2.5
"""Bytes of memory per byte buffered for buckets: the byte, its sorted copy, the pieces."""
REDUCED = 6
"""Bytes of memory per byte of a denormalised log that is buffered to be reduced to items: its copy, its order, the result."""
SORTED_ROW = 150
"""Bytes per row while a bucket is sorted into histories."""
FIT = 1.1
"""Bytes of memory per byte of the dimension blocks that one reading of a table fills."""
BOOKS = 4
"""The same for codebooks: the sample, its ordered copy, and what is left of it in float64."""
BATCHES = 4
"""Number of batches in memory: in work or prefetched."""


@dataclass(frozen=True)
class Shuffle:
    """Bytes grouped by key, by table, and whether they go through files or the engine's shuffle."""

    by_table: dict[str, int]
    through_files: bool

    @property
    def bytes(self) -> int:
        """Bytes of all tables."""
        return sum(self.by_table.values())


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a worker: the base of every process, and the peak that each step adds."""

    base: int
    steps: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes of the base and the largest step."""
        return self.base + max(self.steps.values(), default=0)


def shuffle(found: Figures) -> Shuffle:
    """Estimate the bytes that go through the exchanges."""
    job, size, buckets = found.job, _log_bytes(found), _buckets(found)
    tables = {"log": size + buckets * max(1.0, size / FLUSH_BYTES) * PIECE}
    if job.users is not None:
        tables["users"] = _token_bytes(found, job.users) + buckets * PIECE
    # An item counts once per bucket that has it; a table per bucket and range of ids.
    per_bucket = float(-np.expm1(-found.counted_items / buckets).sum()) * buckets
    ranges = max(1, -(-found.item_count // RANGE_ITEMS))
    columns = 2 if isinstance(job.spec.split, LeaveOneOut) else 3
    tables[ITEM_COUNTS] = 8 * columns * per_bucket + buckets * ranges * PIECE
    if job.spec.denormalised:
        tables["items"] = found.spilled[ITEMS_STAGE] + job.sizes.item_buckets * PIECE
    keyed = _catalogue_bytes(found)
    if job.users is not None:
        keyed += Counter({"keys-0": _key_bytes(found, job.users)})
        keyed += Counter({"values": _value_bytes(found, "user")})
    return Shuffle({k: round(v) for k, v in (tables | keyed).items()}, job.spill)


def _catalogue_bytes(found: Figures) -> Counter[str]:
    """Bytes of the exchanges in which the keys and values of the catalogue are counted."""
    keys = {f"keys-{k}": _key_bytes(found, t) for k, t in enumerate(found.job.item_tables)}
    return Counter(keys | {"values": _value_bytes(found, "item")})


def _key_bytes(found: Figures, table: TableJob) -> int:
    """The keys of a table: text, offset, split and row."""
    read = found.read.tables[table.name]
    rows = found.item_count if found.job.spec.denormalised and not table.joined else read.rows.value
    return round(rows * (KEY_ROW + read.key_bytes)) + PIECE


def _value_bytes(found: Figures, side: str) -> int:
    """The distinct values of the categorical features of a side: text, offset and count."""
    counted = [f for f in found.features if f.side == side and f.distinct.value]
    return sum(f.distinct.value * VALUE_ROW + PIECE for f in counted)


def disk_for_parts(found: Figures, moved: Shuffle) -> dict[str, int]:
    """Estimate the bytes in the folder of parts before it is deleted, by content."""
    index = round(found.item_count * (20 + found.read.items.key_bytes))
    counted = _catalogue_bytes(found).total()
    return {
        "shuffle": moved.bytes if moved.through_files else 0,
        "item tokens": max(0, found.spilled["Catalogue"] - index - counted),
        "index": index,
        "histories": found.fetched["Splits"],
        "splits": found.spilled["Splits"],
    }


def memory(found: Figures) -> Memory:
    """Estimate the memory of a worker process that runs every step once."""
    sizes, spec, text = found.job.sizes, found.job.spec, found.read.items.key_bytes
    shards = spec.items.catalogue_vocabulary.shards
    keys = found.item_count / (sizes.buckets(ITEMS, shards) if sizes.is_large(ITEMS) else 1)
    index, shuffled = keys * (KEY + text), _log_bytes(found)
    largest = max((f.bytes for f in found.job.log), default=0)
    batch = found.read.log.rows.value * largest / max(1, sum(f.bytes for f in found.job.log))
    tokens = sum(_token_bytes(found, t) for t in found.job.item_tables)
    flat = tokens if spec.output.layout == "flattened" else 0
    steps = {
        "numbering keys": keys * (NUMBERING + text),
        "fitting": index + max(_fit(found, t) for t in found.job.tables),
        "encoding": index + max(_encoding(found, t) for t in found.job.tables),
        "reading the log": index
        + min(MAX_ROWS, batch) * BATCH_ROW
        + FLUSH * min(FLUSH_BYTES, shuffled)
        + (min(SPILL_BYTES, shuffled) if found.job.spill else 0),
        "reducing items": _reducing(found),
        "sorting a bucket": index + _largest_bucket(found) * SORTED_ROW,
        "writing an item shard": index + 2 * tokens / spec.output.item_shards + flat,
    }
    return Memory(PROCESS, {name: round(size) for name, size in steps.items()})


def _reducing(found: Figures) -> float:
    """Bytes while the rows of a denormalised log are reduced to items; 0 for other logs."""
    moved = found.spilled[ITEMS_STAGE]
    return (
        REDUCED * min(FLUSH_BYTES, moved)
        + BATCHES * min(BATCH_BYTES, moved)
        + (min(SPILL_BYTES, moved) if found.job.spill else 0)
    )


def _fit(found: Figures, table: TableJob) -> float:
    """Bytes of the dimension blocks of one reading, and of the batches that fill them."""
    most = 0.0
    for f in table.embeddings:
        rows = min(_rows(found, table), f.fit_sample * SLACK)
        wide = max(sum(b - a for _, a, b in p) for p in passes(f, _rows(found, table)))
        blocks = rows * 4 * wide
        factor = BOOKS if isinstance(f, CodebookEmbedding) else FIT
        most = max(most, blocks * factor + BATCHES * min(BATCH_BYTES, blocks))
        if f.reduce is not None:
            whole = min(rows, sample_limit(f.dim) * SLACK) * 4 * f.dim
            most = max(most, whole + BATCHES * min(BATCH_BYTES, whole))
    return most


def _encoding(found: Figures, table: TableJob) -> float:
    """Bytes of the buffered tokens of a part, their sorted copy, and the batches that they come from."""
    file = 4 * max((f.bytes for f in table.files), default=0)
    return BATCHES * min(BATCH_BYTES, file) + 2 * min(PART_BYTES, _token_bytes(found, table))


def _rows(found: Figures, table: TableJob) -> int:
    rows = found.users if table.name == USERS else found.items
    return rows["kept"].value if rows else 0


def _token_bytes(found: Figures, table: TableJob) -> float:
    """Arrow bytes of a table's tokens: per row its key, its id, and 32 bits per token."""
    each = 12 + found.read.tables[table.name].key_bytes + 4 * sum(map(_tokens, table.features))
    return _rows(found, table) * each


def _tokens(feature: Feature) -> int:
    if isinstance(feature, EmbeddingFeature):
        return feature.token_count
    return 1 + CELLS if isinstance(feature, CategoricalFeature) and feature.multivalued else 1


def _log_bytes(found: Figures) -> float:
    """Arrow bytes of the log in the shuffle: the user as text with 32-bit offsets, ids of 32 bits."""
    fixed = {"user": 4 + found.read.log.user_bytes, "item_index": 4, "behaviour": 4}
    row = sum(fixed.get(c, 8) for c in shuffle_columns(found.job.spec))
    return float(found.read.log.shuffled * row)


def _buckets(found: Figures) -> int:
    return found.job.spec.output.sequence_shards * found.job.buckets


def _largest_bucket(found: Figures) -> float:
    """Rows of the largest bucket of users."""
    log, by_user = found.read.log, found.read.log.by_user.rows()
    if by_user.is_empty():
        return 0.0
    hashes, shards = by_user["key"].to_numpy(), np.uint64(found.job.spec.output.sequence_shards)
    part = (hashes >> np.uint64(32)) * np.uint64(found.job.buckets) >> np.uint64(32)
    bucket = ((hashes % shards) * np.uint64(found.job.buckets) + part).astype(np.int64)
    return float(np.bincount(bucket, weights=by_user["rows"].to_numpy()).max()) * log.scale


def paths(found: Figures) -> dict[str, Any]:
    """The decisions of the build as plain data.

    Returns:
        `vocabularies`: name, path (`broadcast`: every worker loads it; `buckets`: none does), buckets, the number of
        values that the build expects and its basis; `user_buckets`, `rows_a_bucket`, and the rows of the largest.
    """
    sizes, spec = found.job.sizes, found.job.spec
    shards = {ITEMS: spec.items.catalogue_vocabulary.shards}
    for f in found.features:
        if isinstance(f.feature, CategoricalFeature):
            shards[f"{f.side}/{f.feature.name}"] = f.feature.shards
    vocabularies = [
        {
            "vocabulary": name,
            "path": "buckets" if sizes.is_large(name) else "broadcast",
            "buckets": sizes.buckets(name, shards.get(name)) if sizes.is_large(name) else 1,
            "values": estimate.count,
            "basis": estimate.basis,
        }
        for name, estimate in sorted(sizes.values.items())
    ]
    return {
        "limit": sizes.limit,
        "vocabularies": vocabularies,
        "user_buckets": _buckets(found),
        "rows_a_bucket": round(found.read.log.shuffled / _buckets(found)),
        "largest_bucket_rows": round(_largest_bucket(found)),
    }
