"""The hash of the project, and that of files.

The hash of the project is XXH3-64, seed 0, of UTF-8 text (see docs/adr/0001-stable-hash.md).

polars is imported by the functions on columns: a service hashes single texts, and its image has no polars.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    import polars as pl

SEPARATOR = "\x1f"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file on this machine, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stable_hash(*values: str) -> int:
    """XXH3-64 (seed 0) of one text, or of several joined with U+001F: an unsigned 64-bit integer."""
    return xxhash.xxh3_64_intdigest(SEPARATOR.join(values).encode("utf-8"))


def hash_column(column: str) -> "pl.Expr":
    """`stable_hash` of a text column, vectorised: uint64, null where the text is null."""
    import polars_hash as plh

    expression: pl.Expr = plh.col(column).nchash.xxh3_64()
    return expression


def hash_texts(texts: "pl.Series") -> "pl.Series":
    """`stable_hash` of every text of a series: uint64, null where the text is null."""
    import polars as pl

    return pl.DataFrame({"t": texts}).select(hash_column("t")).to_series()
