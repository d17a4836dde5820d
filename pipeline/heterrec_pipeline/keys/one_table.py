"""Number keys that fit in one table, and resolve rows with a repeated key."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.files.parts import TableRef, load, row_count
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.duplicates import batch_keys, hashed_rows, lost_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.vocabularies.number import no_keys
from heterrec_pipeline.wiring.reports import report_count
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.tokens import number_vocabulary
from heterrec_schemas.values import Seen

REPEATED = "repeated"


LOSERS = pa.schema([pa.field("file", pa.string()), pa.field("row", pa.int64())])
"""Rows that are left out because another row of their key is kept."""


@dataclass(frozen=True)
class KeyRules:
    """How keys get ids; None where a table's keys need none."""

    oov_buckets: int
    shards: int | None


def number_keys(
    tables: Iterable[pa.Table], integral: bool, rules: KeyRules | None
) -> tuple[pa.Table, pa.Table]:
    """Give ids to distinct keys.

    Args:
        tables: tables with a text column `key`, in any order.
        integral: whether keys are ordered as numbers.
        rules: the layout of ids, or None for a table whose keys need none.

    Returns:
        The index (key, id int64, shard uint32; sorted by id) and the keys that stand more than once.
    """
    frames = [pl.DataFrame(pl.from_arrow(t.select(["key"]))) for t in tables]
    if not frames:
        frames = [pl.DataFrame(schema={"key": pl.String})]
    keys = pl.concat(frames).group_by("key").len("rows")
    repeated = keys.filter(pl.col("rows") > 1).select("key")
    counts = keys.select(pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count"))
    if rules is None:
        index = counts.select(
            pl.col("value").alias("key"),
            pl.lit(0, pl.Int64).alias("id"),
            pl.lit(0, pl.UInt32).alias("shard"),
        )
    else:
        numbered = number_vocabulary(
            counts, integral=integral, oov_buckets=rules.oov_buckets, shards=rules.shards
        )
        index = numbered.select(pl.col("value").alias("key"), "id", "shard")
    return index.to_arrow(), repeated.to_arrow()


def number_key_table(
    table: TableJob,
    rules: KeyRules | None,
    element: tuple[int, Iterable[pa.Table]],
    seen: dict[str, int],
) -> Iterator[Any]:
    """All keys of a table to its index and its repeated keys."""
    integral = Seen(seen.get(table.name, 0)).integral
    tables = list(tables_in(element[1]))
    index, repeated = number_keys(tables, integral, rules)
    if len(index) == 0 and not table.joined:
        raise no_keys(table, tables)
    yield index
    yield TaggedOutput(REPEATED, repeated)
    yield report_count(f"{table.name}.keys", len(index))


def read_repeated(table: TableJob, split: Split, repeated: pa.Table | TableRef) -> Iterator[Any]:
    """Rows of repeated keys as key, hash, file, row; reads nothing when no key is repeated."""
    if row_count(repeated) == 0:
        return
    wanted = pl.DataFrame(pl.from_arrow(load(repeated)))["key"].implode()
    for batch in prefetched(read_split(split, table.columns)):
        text = batch_keys(table, split, batch)
        found = text.is_in(wanted).fill_null(False).arg_true()
        if not found.is_empty():
            yield hashed_rows(table, split, batch, text, found).to_arrow()


def choose_rows(table: TableJob, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
    """Of each repeated key, keep the row of the smallest hash; the others are copies of it or duplicates."""
    frames = [pl.DataFrame(pl.from_arrow(t)) for t in tables_in(element[1])]
    if not frames:
        yield LOSERS.empty_table()
        return
    losers, reports = lost_rows(table, pl.concat(frames))
    yield losers.select("file", "row").to_arrow().cast(LOSERS)
    yield from reports


def losers_in(losers: pa.Table, file: str) -> pl.Series:
    """The row numbers of one file that are left out."""
    if len(losers) == 0:
        return pl.Series("row", [], dtype=pl.Int64)
    return pl.DataFrame(pl.from_arrow(losers)).filter(pl.col("file") == file)["row"]
