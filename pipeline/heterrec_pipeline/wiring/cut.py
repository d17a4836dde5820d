"""Texts to buckets by their hash: what is grouped by bucket meets there, and no worker holds all of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import PCollection

from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.step import Composite, of_type
from heterrec_schemas.hashing import hash_texts

FLUSH_BYTES = 48 * 2**20
BucketKey = tuple[str, int]
"""A vocabulary and a bucket of it (or one of its shards, or a split of a table)."""


def bucket_numbers(texts: pl.Series, buckets: int) -> pl.Series:
    """The bucket of each text: hash mod B (int64)."""
    if buckets == 1:
        return pl.zeros(len(texts), pl.Int64, eager=True).alias("bucket")
    return (hash_texts(texts) % buckets).cast(pl.Int64).alias("bucket")


def cut_by_bucket(table: pa.Table, numbers: pl.Series) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each bucket, in their order and of the table's types; each piece is a copy of its own."""
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
    """An Arrow table as a frame."""
    return pl.DataFrame(pl.from_arrow(table))


def _named(table: pa.Table, name: str) -> tuple[str, pa.Table]:
    return name, table


@dataclass(eq=False, kw_only=True)
class CutTables(Composite):
    """Tables, or (name, table), to ((name, bucket), table).

    Attributes:
        column: the texts whose hashes decide.
        buckets: into how many by name.
        name: of tables that come without one.
    """

    column: str
    buckets: dict[str, int]
    name: str | None = None

    def expand(self, tables: PCollection) -> PCollection:
        """Cut."""
        if self.name is not None:
            pairs = tables | f"as {self.name}" >> beam.Map(_named, self.name)
            tables = of_type(pairs, tuple[str, pa.Table])
        pieces = tables | "cut by hash" >> beam.ParDo(
            Buffered(partial(cut_by_hash, self.column, self.buckets), FLUSH_BYTES)
        )
        return of_type(pieces, tuple[BucketKey, pa.Table])
