"""Texts to buckets by their hash: what is grouped by bucket meets there, and no worker holds all of it."""

from collections.abc import Iterator, Mapping

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.hashing import hash_texts

FLUSH_BYTES = 48 * 2**20
Place = tuple[str, int]
"""A vocabulary and a bucket of it (or one of its shards, or a split of a table)."""


def bucket_numbers(texts: pl.Series, buckets: int) -> pl.Series:
    """The bucket of each text: hash mod B (int64)."""
    return (hash_texts(texts) % buckets).cast(pl.Int64).alias("bucket")


def cut_by_bucket(table: pa.Table, numbers: pl.Series) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each bucket, in their order and of the table's types; each piece is a copy of its own."""
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(numbers.alias("__bucket"))
    for piece in frame.partition_by("__bucket", maintain_order=True):
        yield int(piece["__bucket"][0]), piece.drop("__bucket").to_arrow().cast(table.schema)


class CutByHash(beam.DoFn):
    """(vocabulary, table) to ((vocabulary, bucket), table) by the hash of a text column, a few large tables a bundle."""

    def __init__(self, column: str, buckets: Mapping[str, int]) -> None:
        """Cut by a column; `buckets` says into how many by vocabulary."""
        self.column, self.buckets = column, dict(buckets)
        self.waiting: dict[str, list[pa.Table]] = {}
        self.bytes = 0

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self.waiting, self.bytes = {}, 0

    @carried
    def process(self, element: tuple[str, pa.Table]) -> Iterator[tuple[Place, pa.Table]]:
        """Keep a table until there is enough for good pieces."""
        name, table = element
        self.waiting.setdefault(name, []).append(table)
        self.bytes += table.nbytes
        if self.bytes >= FLUSH_BYTES:
            yield from self._cut()

    @carried
    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Hand on the rest."""
        for value in self._cut():
            yield GlobalWindows.windowed_value(value)

    def _cut(self) -> Iterator[tuple[Place, pa.Table]]:
        waiting = self.waiting
        self.waiting, self.bytes = {}, 0
        for name, tables in waiting.items():
            whole = pa.concat_tables(tables)
            texts = pl.Series(whole[self.column]).cast(pl.String)
            numbers = bucket_numbers(texts, self.buckets[name])
            for bucket, piece in cut_by_bucket(whole, numbers):
                yield (name, bucket), piece


def as_frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a frame."""
    return pl.DataFrame(pl.from_arrow(table))
