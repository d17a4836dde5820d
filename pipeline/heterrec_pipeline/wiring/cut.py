"""Texts to buckets by their hash: what is grouped by bucket meets there, and no worker holds all of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
    return (hash_texts(texts) % buckets).cast(pl.Int64).alias("bucket")


def cut_by_bucket(table: pa.Table, numbers: pl.Series) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each bucket, in their order and of the table's types; each piece is a copy of its own."""
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(numbers.alias("__bucket"))
    for piece in frame.partition_by("__bucket", maintain_order=True):
        yield int(piece["__bucket"][0]), piece.drop("__bucket").to_arrow().cast(table.schema)


class CutByHash(Buffered):
    """(vocabulary, table) to ((vocabulary, bucket), table) by the hash of a text column."""

    def __init__(self, column: str, buckets: Mapping[str, int]) -> None:
        """Cut by a column; `buckets` says into how many by vocabulary."""
        super().__init__()
        self.column, self.buckets = column, dict(buckets)

    def enough(self) -> int:
        """Enough for good pieces."""
        return FLUSH_BYTES

    def hand_on(self, waiting: list[tuple[str, pa.Table]]) -> Iterator[tuple[BucketKey, pa.Table]]:
        """Cut by bucket, a vocabulary at a time."""
        by_name: dict[str, list[pa.Table]] = {}
        for name, table in waiting:
            by_name.setdefault(name, []).append(table)
        for name, tables in by_name.items():
            whole = pa.concat_tables(tables)
            texts = pl.Series(whole[self.column]).cast(pl.String)
            numbers = bucket_numbers(texts, self.buckets[name])
            for bucket, piece in cut_by_bucket(whole, numbers):
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
        pieces = tables | "cut by hash" >> beam.ParDo(CutByHash(self.column, self.buckets))
        return of_type(pieces, tuple[BucketKey, pa.Table])
