"""The table of `rejects/`: every rejected row or cell in one file."""

from collections.abc import Iterable

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.shards import Written, write_shard
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import shard_name, with_metadata

SAMPLES = 3
"""Number of rejects that a message quotes."""


def reject_in_words(file: str, row: int, column: str, value: str | None) -> str:
    """A reject as messages quote it; `column` is empty for a row that cannot be read."""
    where = f"{file} row {row}" + (f", column {column!r}" if column else "")
    return f"{where}: got {'nothing' if value is None else repr(value)}"


def sorted_rejects(tables: Iterable[pa.Table]) -> pl.DataFrame:
    """All entries as one frame, by source, file, row and column."""
    whole = pa.concat_tables([REJECTS_SCHEMA.empty_table(), *tables])
    return pl.DataFrame(pl.from_arrow(whole)).sort("source", "file", "row", "column")


def write_rejects_shard(root: str, rejects: pl.DataFrame) -> Written:
    """Write sorted entries below a folder; the file still has its temporary name."""
    schema = with_metadata(REJECTS_SCHEMA, "rejects")
    table = rejects.to_arrow().cast(REJECTS_SCHEMA).replace_schema_metadata(schema.metadata)
    return write_shard(root, f"rejects/{shard_name('rejects', 0, 1)}", table)
