"""The rows of one shard in their order, and the fingerprint of what it is made of.

Shapes: U distinct contents, R rows (keys).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.contents import image_digest, mixed
from heterrec_pipeline.embed.survey import EmbedJob

ROWS = pl.Schema({"key": pl.String, "file": pl.String, "row": pl.Int64})


@dataclass(frozen=True)
class Gathered:
    """A shard's rows, sorted by the length of the content, content, key.

    Attributes:
        rows: content, key, file, row; distinct in content and key. R rows.
        contents: the U distinct contents in the same order.
        index: [R] which content each row has.
    """

    rows: pl.DataFrame
    contents: list[Any]
    index: npt.NDArray[np.int64]


def gather(column: EmbeddedColumn, tables: Iterable[pa.Table], integral: bool) -> Gathered:
    """Bring the tables of one shard into their order, whatever order they come in.

    Raises:
        SchemaMismatchError: paths and image bytes are mixed.
    """
    frames = [pl.DataFrame(pl.from_arrow(t)) for t in tables if len(t)]
    if len({f.schema["content"] for f in frames}) > 1:
        raise mixed(column)
    if not frames:
        frames = [pl.DataFrame(schema={"content": pl.String, **ROWS})]
    whole = pl.concat(frames).sort("file", "row")
    whole = whole.unique(["content", "key"], keep="first", maintain_order=True)
    content = pl.col("content")
    text = whole.schema["content"] == pl.String
    length = content.str.len_bytes() if text else content.bin.size()
    key = pl.col("key").cast(pl.Int64) if integral else pl.col("key")
    # Texts of like length beside each other keep the padding of a batch small.
    whole = whole.sort(length, "content", key)
    return Gathered(
        whole,
        whole["content"].unique(maintain_order=True).to_list(),
        whole["content"].rle_id().cast(pl.Int64).to_numpy(),
    )


def fingerprint_of(job: EmbedJob, column: EmbeddedColumn, gathered: Gathered) -> str:
    """What a shard is made of, as a SHA-256.

    Batch size, device and threads are no part of it: they move the last bits of a vector at most,
    and a run that ended for want of memory shall go on with smaller batches.
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
    _add(digest, [c if isinstance(c, bytes) else c.encode() for c in gathered.contents])
    if column.kind == "image":
        _add(digest, [image_digest(c, config.input).encode() for c in gathered.contents])
    digest.update(gathered.index.tobytes())
    _add(digest, [k.encode() for k in gathered.rows["key"].to_list()])
    return digest.hexdigest()


def _add(digest: Any, values: Sequence[bytes]) -> None:
    """Their lengths, then the values: no two lists look alike."""
    digest.update(np.array([len(values), *map(len, values)], dtype="<i8").tobytes())
    for value in values:
        digest.update(value)
