"""Encodes the distinct contents of a shard once each and writes the vectors.

The metadata of a shard contains a fingerprint of everything that it is made of. A finished shard with the expected
fingerprint is kept: this is how an interrupted run continues.

Shapes: U distinct contents, R rows (keys), D dimensions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.utils.shared import Shared

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.images import open_image
from heterrec_pipeline.embed.job import SUMMARY, EmbedJob, ShardPlan
from heterrec_pipeline.embed.models import Encoder
from heterrec_pipeline.embed.own_encoder import Vectors
from heterrec_pipeline.embed.progress import TEXTS_DONE
from heterrec_pipeline.embed.shard_rows import ShardRows, fingerprint_of, sort_rows
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.shards import Written, new_shard
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_pipeline.wiring.cut import BucketKey
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import DataError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import (
    METADATA_KEY,
    WIDE_ROW_GROUP,
    key_type,
    shard_name,
    with_metadata,
)

KEPT_SHARDS, KEPT_TEXTS = "kept.shards", "kept.texts"


@dataclass(frozen=True)
class VectorShard:
    """A finished shard: its path, the numbers of `embedding.json`, and the positions of its unreadable contents."""

    column: str
    path: str
    rows: int
    texts: int
    dim: int
    fingerprint: str
    unreadable: list[int]


def encode_shard(
    job: EmbedJob,
    encoder: Shared,
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    plan: ShardPlan,
) -> Iterator[Any]:
    """Write a shard, or keep it; the process loads the model with the first shard that is not kept."""
    (name, number), pieces = element
    column = job.column(name)
    rows = sort_rows((load(p) for p in chain(pieces["rows"], pieces["every"])), plan.integral)
    path = shard_name(column.stem, number, plan.shards[name])
    fingerprint = fingerprint_of(job, column, rows)
    shard = None if job.config.fresh else finished_shard(job, name, path, fingerprint)
    if shard is not None:
        yield report_count(KEPT_SHARDS, 1)
        yield report_count(KEPT_TEXTS, shard.texts)
        RECORDER.count(TEXTS_DONE, len(rows.contents))
    else:
        loaded = encoder.acquire(lambda: job.load(job.model, job.config))
        vectors_UD, unreadable = encode_contents(job, column, rows.contents, loaded)
        chosen = np.flatnonzero(~np.isin(rows.index, unreadable))
        texts, dim = len(rows.contents) - len(unreadable), vectors_UD.shape[1]
        shard = VectorShard(name, path, len(chosen), texts, dim, fingerprint, unreadable)
        keys = rows.rows["key"].gather(chosen).cast(pl.Int64 if plan.integral else pl.String)
        write_vectors(job, column, shard, keys, vectors_UD, rows.index[chosen])
    yield from _report_unreadable(job, column, rows, shard.unreadable)
    yield shard


def finished_shard(job: EmbedJob, column: str, path: str, fingerprint: str) -> VectorShard | None:
    """The shard at a path, if it is finished and has the fingerprint."""
    full = storage.join(job.config.output, path)
    if not storage.exists(full):
        return None
    try:
        with storage.open_arrow(full) as handle:
            file = pq.ParquetFile(handle)
            body = parse_json((file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
            rows = file.metadata.num_rows
        if body.get("fingerprint") != fingerprint:
            return None
        same = {name: body[name] for name in ("texts", "dim", "fingerprint", "unreadable")}
    except (pa.ArrowException, OSError, ValueError, AttributeError, KeyError):
        return None  # damaged
    return VectorShard(column=column, path=path, rows=rows, **same)


def encode_contents(
    job: EmbedJob, column: EmbeddedColumn, contents: list[Any], encoder: Encoder
) -> tuple[Vectors, list[int]]:
    """Encode U distinct contents in fixed batches.

    Returns:
        [U, D] float32, zeros for unreadable contents, and the positions of these.

    Raises:
        DataError: the model returns a vector with NaN or an infinity.
    """
    good: list[int] = []
    batches: list[Vectors] = []
    readable = _readable(job, column, contents)
    while batch := list(islice(readable, job.config.batch_size)):
        batches.append(_finite(encoder.encode([value for _, value in batch]), column))
        good += [position for position, _ in batch]
        RECORDER.count(TEXTS_DONE, len(batch))
    if not batches:  # nothing is readable: encode a sample for the number of dimensions
        batches.append(_finite(encoder.encode([_sample(column)]), column)[:0])
    found = np.concatenate(batches)
    vectors_UD = np.zeros((len(contents), found.shape[1]), np.float32)
    vectors_UD[good] = found
    unreadable = sorted(set(range(len(contents))) - set(good))
    RECORDER.count(TEXTS_DONE, len(unreadable))
    return vectors_UD, unreadable


def _readable(
    job: EmbedJob, column: EmbeddedColumn, contents: list[Any]
) -> Iterator[tuple[int, Any]]:
    """The position of each readable content, and the model's input for it."""
    for position, content in enumerate(contents):
        value = content if column.kind == "text" else open_image(content, job.config.input)
        if value is not None:
            yield position, value


def _sample(column: EmbeddedColumn) -> Any:
    if column.kind == "text":
        return "-"
    from PIL import Image

    return Image.new("RGB", (32, 32))


def _finite(vectors: Vectors, column: EmbeddedColumn) -> Vectors:
    if not np.isfinite(vectors).all():
        raise DataError(
            f"the model gives vectors with NaN or infinities for column {column.name!r}",
            expected="finite numbers",
            todo="Use another model, or run it in float32 (half precision overflows on some).",
        )
    return vectors


def write_vectors(
    job: EmbedJob,
    column: EmbeddedColumn,
    shard: VectorShard,
    keys: pl.Series,
    vectors_UD: Vectors,
    index: npt.NDArray[np.int64],
) -> None:
    """Write R keys with their vectors, first under a temporary name; `index` [R] is the position of each key's vector.

    Raises:
        RunError: the file cannot be written.
    """
    vector_type, output = pa.list_(pa.float32(), shard.dim), job.config.output
    fields = [
        pa.field(job.config.key, key_type(keys.dtype == pl.Int64), nullable=False),
        pa.field(column.vector_name, vector_type, nullable=False),
    ]
    schema = with_metadata(
        pa.schema(fields),
        "embedding",
        column=column.name,
        dim=shard.dim,
        model=job.model.name,
        unreadable=shard.unreadable,
        fingerprint=shard.fingerprint,
        texts=shard.texts,
    )
    done: list[Written] = []
    plain = [column.vector_name]
    with new_shard(
        output, shard.path, schema, row_group=WIDE_ROW_GROUP, plain=plain, done=done
    ) as out:
        for start in range(0, len(keys), WIDE_ROW_GROUP):
            some = slice(start, start + WIDE_ROW_GROUP)
            flat = pa.array(vectors_UD[index[some]].reshape(-1))
            vectors = pa.FixedSizeListArray.from_arrays(flat, type=vector_type)
            stored = keys[some].to_arrow().cast(fields[0].type)
            out.write(pa.table([stored, vectors], schema=schema))
    # From here on the folder differs from its summary.
    storage.delete_tree(storage.join(output, SUMMARY))
    storage.rename([(done[0].temporary, storage.join(output, shard.path))])


def _report_unreadable(
    job: EmbedJob, column: EmbeddedColumn, rows: ShardRows, unreadable: list[int]
) -> Iterator[Any]:
    """Reject the rows whose image is unreadable."""
    lost = rows.rows.filter(pl.Series(np.isin(rows.index, unreadable), dtype=pl.Boolean))
    for content, file, row in lost.select("content", "file", "row").iter_rows():
        value = content if isinstance(content, str) else None
        cell = (row, column.name, Reason.UNREADABLE_IMAGE, value)
        yield from report_rejects(ITEMS, job.files[file].name, [cell])
