"""One shard: its rows gathered and sorted, each distinct content encoded once, the vectors written.

A shard says in its metadata which model, options, contents and keys it was made of. One that stands
already and says the same is kept: that is how an interrupted run goes on.

Shapes: U distinct contents, R rows (keys), D dimensions.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.contents import open_image
from heterrec_pipeline.embed.gather import Gathered, fingerprint_of, gather
from heterrec_pipeline.embed.models import Encoder, Vectors
from heterrec_pipeline.embed.survey import EmbedJob, Plan
from heterrec_pipeline.embed.tally import TALLY
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, new_shard
from heterrec_pipeline.wiring.carried import carried
from heterrec_pipeline.wiring.reports import report_rejects
from heterrec_schemas.errors import DataError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import (
    METADATA_KEY,
    WIDE_ROW_GROUP,
    key_type,
    shard_name,
    with_metadata,
)

SUMMARY = "embedding.json"
METRICS = "heterrec_embed"
KEPT_SHARDS, KEPT_TEXTS = "kept_shards", "kept_texts"
UNREADABLE_IMAGE: Any = "unreadable_image"
"""The reason of an image that is absent or that Pillow cannot decode."""


@dataclass(frozen=True)
class Shard:
    """A shard that stands."""

    column: str
    path: str
    rows: int
    texts: int
    dim: int
    fingerprint: str


@dataclass(frozen=True)
class Encoded:
    """A shard's rows with their vectors.

    Attributes:
        gathered: R rows of U contents.
        vectors_UD: [U, D] float32; zeros where a content could not be read.
        unreadable: the positions of those.
        integral: whether keys are stored as int64.
    """

    gathered: Gathered
    vectors_UD: Vectors
    unreadable: list[int]
    integral: bool


def standing(job: EmbedJob, column: str, path: str, wanted: str) -> tuple[Shard, list[int]] | None:
    """The shard at a path if it is the wanted one, and which of its contents were unreadable."""
    full = storage.join(job.config.output, path)
    if not storage.exists(full):
        return None
    try:
        with storage.open_arrow(full) as handle:
            file = pq.ParquetFile(handle)
            body = json.loads((file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError):
        return None  # damaged, or no Parquet at all: written anew
    if body.get("fingerprint") != wanted:
        return None
    return Shard(column, path, rows, body["texts"], body["dim"], wanted), body["unreadable"]


def encode_contents(
    job: EmbedJob, column: EmbeddedColumn, gathered: Gathered, encoder: Encoder
) -> tuple[Vectors, list[int]]:
    """Encode the distinct contents in fixed batches.

    Returns:
        [U, D] float32, zeros where a content could not be read, and the positions of those.

    Raises:
        DataError: the model gives a vector with NaN or an infinity.
    """
    good: list[int] = []
    parts: list[Vectors] = []
    readable = _readable(job, column, gathered.contents)
    while batch := list(islice(readable, job.config.batch_size)):
        parts.append(_finite(encoder.encode([value for _, value in batch]), column))
        good += [position for position, _ in batch]
        TALLY.add(len(batch))
    if not parts:  # nothing readable: one encoding all the same, for the width of a vector
        parts.append(_finite(encoder.encode([_sample(column)]), column)[:0])
    found = np.concatenate(parts)
    vectors = np.zeros((len(gathered.contents), found.shape[1]), np.float32)
    vectors[good] = found
    unreadable = sorted(set(range(len(vectors))) - set(good))
    TALLY.add(len(unreadable))
    return vectors, unreadable


def _readable(
    job: EmbedJob, column: EmbeddedColumn, contents: list[Any]
) -> Iterator[tuple[int, Any]]:
    """The position of each content that can be read, and what the model takes for it."""
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


def shard_schema(
    job: EmbedJob, column: EmbeddedColumn, encoded: Encoded, **details: object
) -> pa.Schema:
    """The key and the vectors; the metadata say what they are."""
    dim = encoded.vectors_UD.shape[1]
    vectors = pa.list_(pa.float32(), dim)
    fields = [
        pa.field(job.config.key, key_type(encoded.integral), nullable=False),
        pa.field(column.vector_name, vectors, nullable=False),
    ]
    return with_metadata(
        pa.schema(fields),
        "embedding",
        column=column.name,
        dim=dim,
        model=job.model.name,
        unreadable=encoded.unreadable,
        **details,
    )


def write(
    job: EmbedJob, column: EmbeddedColumn, path: str, encoded: Encoded, fingerprint: str
) -> Shard:
    """Write a shard under a temporary name and put it in its place.

    Raises:
        RunError: the file cannot be written.
    """
    output, rows = job.config.output, encoded.gathered.rows
    texts = len(encoded.vectors_UD) - len(encoded.unreadable)
    schema = shard_schema(job, column, encoded, fingerprint=fingerprint, texts=texts)
    keys = rows["key"].cast(pl.Int64) if encoded.integral else rows["key"]
    readable = np.flatnonzero(~np.isin(encoded.gathered.index, encoded.unreadable))
    done: list[Written] = []
    plain = [column.vector_name]
    with new_shard(output, path, schema, row_group=WIDE_ROW_GROUP, plain=plain, done=done) as out:
        for start in range(0, len(readable), WIDE_ROW_GROUP):
            chosen = readable[start : start + WIDE_ROW_GROUP]
            flat = encoded.vectors_UD[encoded.gathered.index[chosen]].reshape(-1)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field(1).type)
            key = keys[chosen].to_arrow().cast(schema.field(0).type)
            out.write(pa.table([key, vectors], schema=schema))
    # From here on the folder is not what its summary says.
    storage.delete_tree(storage.join(output, SUMMARY))
    storage.rename([(done[0].temporary, storage.join(output, path))])
    dim = encoded.vectors_UD.shape[1]
    return Shard(column.name, path, len(readable), texts, dim, fingerprint)


class EncodeShard(beam.DoFn):
    """The rows of one shard to a file that stands."""

    def __init__(self, job: EmbedJob) -> None:
        """Encode for one job."""
        self.job = job
        self._shared = Shared()
        self._encoder: Encoder | None = None

    def encoder(self) -> Encoder:
        """The model, loaded once a worker process and only where something is left to encode."""
        if self._encoder is None:
            job = self.job
            self._encoder = self._shared.acquire(lambda: job.load(job.model, job.config))
        return self._encoder

    @carried
    def process(
        self, element: tuple[tuple[str, int], Iterable[pa.Table]], plan: Plan
    ) -> Iterator[Any]:
        """Make one shard, or keep it."""
        (name, number), tables = element
        column = self.job.column(name)
        gathered = gather(column, tables, plan.integral)
        path = shard_name(column.stem, number, plan.shards[name])
        fingerprint = fingerprint_of(self.job, column, gathered)
        kept = None if self.job.config.fresh else standing(self.job, name, path, fingerprint)
        if kept is not None:
            shard, unreadable = kept
            Metrics.counter(METRICS, KEPT_SHARDS).inc()
            Metrics.counter(METRICS, KEPT_TEXTS).inc(shard.texts)
            TALLY.add(len(gathered.contents))
        else:
            vectors, unreadable = encode_contents(self.job, column, gathered, self.encoder())
            encoded = Encoded(gathered, vectors, unreadable, plan.integral)
            shard = write(self.job, column, path, encoded, fingerprint)
        yield from _unreadable(column, gathered, unreadable)
        yield shard


def _unreadable(column: EmbeddedColumn, gathered: Gathered, positions: list[int]) -> Iterator[Any]:
    """The rejects of the rows whose image could not be read."""
    if not positions:
        return
    lost = gathered.rows.filter(pl.Series(np.isin(gathered.index, positions)))
    for (file,), rows in lost.partition_by("file", as_dict=True).items():
        reason: Reason = UNREADABLE_IMAGE
        yield from report_rejects(
            "items",
            str(file),
            [
                (row, column.name, reason, content if isinstance(content, str) else None)
                for content, row in rows.select("content", "row").iter_rows()
            ],
        )
