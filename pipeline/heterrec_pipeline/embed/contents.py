"""What a column's cells hold to encode: cleaned texts, paths of images, or the bytes of images."""

import hashlib
import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.files import storage
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.values import column_text, is_scalar, is_text

NO_FILE = "no file"


def contents(column: EmbeddedColumn, cells: pa.Array, file: str) -> pl.Series:
    """The contents of n cells.

    Args:
        column: which column, and of which kind.
        cells: n raw cells.
        file: what an error calls the file.

    Returns:
        n texts (String; for images their paths) or images (Binary), null where there is nothing.

    Raises:
        SchemaMismatchError: the column's type holds neither.
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


def hashes(found: pl.Series) -> pl.Series:
    """The stable hash of each content: uint64, null where there is none."""
    if found.dtype == pl.String:
        return hash_texts(found)
    values = [None if b is None else xxhash.xxh3_64_intdigest(b) for b in found.to_list()]
    return pl.Series(found.name, values, dtype=pl.UInt64)


def image_digest(content: str | bytes, base: str) -> str:
    """The SHA-256 of an image's bytes; of a path's file as it is now."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    try:
        with storage.open_read(storage.join(base, content)) as handle:
            return hashlib.sha256(handle.read()).hexdigest()
    except OSError:
        return NO_FILE


def open_image(content: str | bytes, base: str) -> Any | None:
    """An image as Pillow's RGB image; None when it cannot be read."""
    from PIL import Image

    try:
        if isinstance(content, str):
            content = storage.read_bytes(storage.join(base, content))
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except Exception:  # Pillow's decoders raise many kinds of errors on damaged data
        return None


def mixed(column: EmbeddedColumn) -> DataError:
    """The error of a column that holds paths in one place and bytes in another."""
    return SchemaMismatchError(
        f"column {column.name!r} holds paths in some files and image bytes in others",
        expected="one of the two",
        todo="Split the item table and embed the parts into two folders.",
    )
