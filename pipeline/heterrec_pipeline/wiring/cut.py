"""Cut tables by the hash of a text: pieces with the same key meet in one bucket, and no worker holds all buckets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import PCollection

from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.step import Composite, of_type
from heterrec_schemas.hashing import hash_texts

FLUSH_BYTES = 48 * 2**20
"""Bytes of tables that are buffered before they are cut."""
BucketKey = tuple[str, int]
"""A vocabulary, and one of its buckets (or of its shards, or of the splits of a table)."""


def bucket_numbers(texts: pl.Series, buckets: int) -> pl.Series:
    """The bucket of each text: hash mod B (int64)."""
    if buckets == 1:
        return pl.zeros(len(texts), pl.Int64, eager=True).alias("bucket")
    return (hash_texts(texts) % buckets).cast(pl.Int64).alias("bucket")


def range_numbers(texts: pl.Series, shards: int, ranges: int) -> npt.NDArray[np.int64]:
    """The bucket of each text within its shard: shard * ranges + hash range.

    Args:
        texts: n texts.
        shards: M, the number of shards; shard = hash mod M.
        ranges: R, the number of equal ranges of the hash, in ascending order.
    """
    hashes = hash_texts(texts).to_numpy()
    shard = (hashes % np.uint64(shards)).astype(np.int64)
    # The upper 32 bits are enough to cut the hash space into equal ranges.
    part = ((hashes >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)).astype(np.int64)
    return shard * ranges + part


def cut_by_bucket(table: pa.Table, numbers: pl.Series) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each bucket, in their order and with the table's types; each piece is a copy."""
    if numbers.n_unique() == 1:
        yield int(numbers[0]), table.combine_chunks()
        return
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(numbers.alias("__bucket"))
    for piece in frame.partition_by("__bucket", maintain_order=True):
        yield int(piece["__bucket"][0]), piece.drop("__bucket").to_arrow().cast(table.schema)


def cut_by_hash(
    column: str, buckets: Mapping[str, int], named: list[tuple[str, pa.Table]]
) -> Iterator[tuple[BucketKey, pa.Table]]:
    """Cut (vocabulary, table) pairs by the hash of a text column: ((vocabulary, bucket), table).

    Args:
        column: the text column.
        buckets: the number of buckets per vocabulary.
        named: tables of one schema per vocabulary.
    """
    by_name: dict[str, list[pa.Table]] = {}
    for name, table in named:
        by_name.setdefault(name, []).append(table)
    for name, tables in by_name.items():
        whole = pa.concat_tables(tables)
        texts = pl.Series(whole[column]).cast(pl.String)
        for bucket, piece in cut_by_bucket(whole, bucket_numbers(texts, buckets[name])):
            yield (name, bucket), piece


def as_frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a polars frame."""
    return pl.DataFrame(pl.from_arrow(table))


def _named(table: pa.Table, name: str) -> tuple[str, pa.Table]:
    return name, table


@dataclass(eq=False, kw_only=True)
class CutTables(Composite):
    """Tables, or (name, table), to ((name, bucket), table).

    Attributes:
        column: the text column whose hashes are used.
        buckets: number of buckets by name.
        name: the name of tables that come without one.
    """

    column: str
    buckets: dict[str, int]
    name: str | None = None

    def expand(self, tables: PCollection) -> PCollection:
        """Name the tables and cut them."""
        if self.name is not None:
            pairs = tables | f"as {self.name}" >> beam.Map(_named, self.name)
            tables = of_type(pairs, tuple[str, pa.Table])
        pieces = tables | "cut by hash" >> beam.ParDo(
            Buffered(partial(cut_by_hash, self.column, self.buckets), FLUSH_BYTES)
        )
        return of_type(pieces, tuple[BucketKey, pa.Table])
