"""Contents of cells, read from the item table: cleaned texts, paths of images, or bytes of images."""

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.job import EmbedJob
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.key_text import key_text
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import Seen, is_scalar, is_text


class ContentBatch(NamedTuple):
    """Some rows of the item table.

    Attributes:
        raw: n rows as read.
        keys: [n] their keys as text.
        kinds: the kinds of values among the keys.
        columns: by embedded column, the rows with a key: content, hash, key, number of the file, number of the row.
    """

    raw: ReadBatch
    keys: pl.Series
    kinds: Seen
    columns: dict[str, pl.DataFrame]


def read_contents(job: EmbedJob, split: Split) -> Iterator[ContentBatch]:
    """Read the keys and contents of a split."""
    key, file = job.config.key, pl.lit(job.files.index(split.file), pl.Int32)
    for batch in prefetched(read_split(split, job.read_columns)):
        keys, kinds = key_text(batch.table[key], key, split.file.name)
        columns = {}
        for column in job.config.columns:
            contents = cell_contents(column, batch.table[column.name], split.file.name)
            rows = pl.DataFrame({"content": contents, "key": keys, "row": batch.rows})
            rows = rows.with_columns(file=file, hash=content_hashes(contents))
            columns[column.name] = rows.drop_nulls("key")
        yield ContentBatch(batch, keys, kinds, columns)


def cell_contents(column: EmbeddedColumn, cells: pa.Array, file: str) -> pl.Series:
    """The contents of n cells.

    Args:
        column: the column.
        cells: n raw cells.
        file: the file's name in errors.

    Returns:
        n texts (String; for images their paths) or images (Binary), null for empty cells.

    Raises:
        SchemaMismatchError: the type of the column contains neither.
    """
    kind = cells.type
    if column.kind == "image":
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            # The image type of Hugging Face datasets.
            cells = pc.struct_field(cells, "bytes")
            kind = cells.type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            images = pl.Series(column.name, cells.cast(pa.large_binary()), dtype=pl.Binary)
            return images.set(images.bin.size() == 0, None)
    if is_text(kind) or pa.types.is_null(kind) or (column.kind == "text" and is_scalar(kind)):
        return column_text(cells, column.name)[0]
    raise SchemaMismatchError(
        f"{file}: column {column.name!r} cannot be embedded as {column.kind}",
        got=str(kind),
        expected="text, numbers, booleans, dates or times"
        if column.kind == "text"
        else "paths (text) or images (binary)",
        todo="Name another column.",
    )


def content_hashes(contents: pl.Series) -> pl.Series:
    """The stable hash of each content: uint64, null for null."""
    if contents.dtype == pl.String:
        return hash_texts(contents)
    values = [None if b is None else xxhash.xxh3_64_intdigest(b) for b in contents.to_list()]
    return pl.Series(contents.name, values, dtype=pl.UInt64)
