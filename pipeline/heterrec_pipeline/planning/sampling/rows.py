"""The kept rows of a feature table, block by block, to be read as often as need be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.row_filter import KEY
from heterrec_pipeline.planning.one_table import KeyIndex, indexed_rows
from heterrec_pipeline.planning.sampling.blocks import Block
from heterrec_pipeline.planning.sampling.estimates import Fraction
from heterrec_pipeline.reading.read import ROW

Batches = Iterator[pa.Table]


@dataclass
class Rows:
    """Kept rows out of files, or (of items that come out of the log) a table in memory.

    Attributes:
        table: the feature table.
        part: what of it is read.
        known: which keys and rows count.
        pieces: the blocks that are read.
        population: at least as many rows as are read: what a fit chooses its sample from.
        memory: instead of pieces, the rows themselves, in an order that has nothing to do with what they hold.
    """

    table: TableJob
    part: Fraction
    known: KeyIndex
    population: int
    pieces: Sequence[Block] = ()
    memory: pa.Table | None = None

    def blocks(self, columns: Sequence[str]) -> Iterator[tuple[int, Batches]]:
        """Number and batches of every block; batches have the columns, KEY, ID and ROW."""
        if self.memory is not None:
            count, rows = self.part.read, len(self.memory)
            for k in range(count):
                first, last = k * rows // count, (k + 1) * rows // count
                yield k, iter([self.memory.slice(first, last - first)] if last > first else [])
            return
        number = 0
        for block in self.pieces:
            read = indexed_rows(self.table, block.split, columns, self.known)
            for batches in [read] if block.limit is None else _pieces(read, block):
                yield number, batches
                number += 1

    def keys(self, table: pa.Table) -> pl.Series:
        """The keys of a batch."""
        return pl.Series(table[KEY]).cast(pl.String)


def _pieces(read: Batches, block: Block) -> Iterator[Batches]:
    """The first rows of a file, some at a time."""
    assert block.limit is not None
    for table in read:
        inside = int(np.searchsorted(table[ROW].to_numpy(), block.limit))
        for start in range(0, inside, block.piece):
            yield iter([table.slice(start, min(inside - start, block.piece))])
        if inside < len(table):
            return
