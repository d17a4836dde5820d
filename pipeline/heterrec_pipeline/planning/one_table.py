"""Number keys that fit in one table, and resolve rows with a repeated key."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import all_missing
from heterrec_pipeline.files.parts import TableRef, load, row_count
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.duplicates import hashed_rows, resolve_duplicates
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.keys.row_filter import KEY, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import read_split, without_rows
from heterrec_pipeline.vocabularies.lookup import Lookup
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import number_vocabulary
from heterrec_schemas.values import Seen

ID = "__id"
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


def read_repeated(table: TableJob, split: Split, repeated: pa.Table | TableRef) -> Iterator[Any]:
    """Rows of repeated keys as key, hash, file, row; reads nothing when no key is repeated."""
    if row_count(repeated) == 0:
        return
    wanted = pl.DataFrame(pl.from_arrow(load(repeated)))["key"].implode()
    for batch in prefetched(read_split(split, table.columns)):
        text, _ = key_text(batch.table[table.key], table.key, split.file.name)
        found = text.is_in(wanted).fill_null(False).arg_true()
        if not found.is_empty():
            yield hashed_rows(table, split, batch, found).to_arrow()


def choose_rows(table: TableJob, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
    """Of each repeated key, keep the row of the smallest hash; the others are copies of it or duplicates."""
    frames = [pl.DataFrame(pl.from_arrow(t)) for t in tables_in(element[1])]
    if not frames:
        yield LOSERS.empty_table()
        return
    losers, reports = resolve_duplicates(table, pl.concat(frames))
    yield losers.select("file", "row").to_arrow().cast(LOSERS)
    yield from reports


def losers_in(losers: pa.Table, file: str) -> pl.Series:
    """The row numbers of one file that are left out."""
    if len(losers) == 0:
        return pl.Series("row", [], dtype=pl.Int64)
    return pl.DataFrame(pl.from_arrow(losers)).filter(pl.col("file") == file)["row"]


@dataclass(frozen=True)
class KeyIndex:
    """The kept keys of a side, and the rows that are excluded because another row of their key is kept."""

    index: pa.Table
    losers: pa.Table

    @property
    def population(self) -> int:
        """Number of kept keys."""
        return len(self.index)

    @cached_property
    def ids(self) -> Lookup:
        """The id of each key."""
        return Lookup(pl.Series(self.index["key"]), pl.Series(self.index["id"]))


def indexed_rows(
    table: TableJob, split: Split, columns: Sequence[str], known: KeyIndex
) -> Iterator[pa.Table]:
    """The kept rows of a split with the columns KEY and ID."""
    excluded = losers_in(known.losers, split.file.name)
    for rows in kept_rows(table, split, columns, {}):
        ids = known.ids.find(pl.Series(rows[KEY]))
        rows = rows.append_column(ID, ids.to_arrow()).filter(ids.is_not_null().to_arrow())
        rows = without_rows(rows, excluded)
        if len(rows):
            yield rows


def vocabulary(feature: CategoricalFeature, counts: pa.Table, seen: Seen, where: str) -> pa.Table:
    """The feature's vocabulary: id, value (text), count, shard, sorted by id.

    Raises:
        DataError: every value is missing.
    """
    if len(counts) == 0:
        raise all_missing(feature.name, feature.column, where)
    return number_vocabulary(
        pl.DataFrame(pl.from_arrow(counts)),
        integral=seen.integral,
        oov_buckets=feature.oov_buckets,
        shards=feature.shards,
        min_count=feature.min_count,
        max_size=feature.max_size,
    ).to_arrow()


def value_ids(vocabulary: pa.Table) -> Callable[[pl.Series], pl.Series]:
    """The ids of texts by a vocabulary."""
    return Lookup(pl.Series(vocabulary["value"]), pl.Series(vocabulary["id"])).find
