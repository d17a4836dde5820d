"""Chooses the blocks of a table that a plan reads: all of a small table, or those with the smallest hashes.

A block is a row group of a Parquet file or a whole text file. If text files are too large for that, only their beginnings are
read, and a block is a run of consecutive rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heterrec_pipeline import sizing
from heterrec_pipeline.planning.estimates import Fraction, Interval
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import InputFile, Split, parquet_metadata
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.reading.shaping.shape import physical_rows, root_columns
from heterrec_pipeline.reading.vectors import file_columns
from heterrec_schemas.hashing import stable_hash

SAMPLE_BYTES = 64 * 2**20
"""Bytes on disk, of the requested columns, that a plan reads of each table."""
MIN_BLOCKS = 8
"""Minimum number of blocks read of a table, whatever their size."""
MAX_BEGINNINGS = 16
"""Maximum number of text files whose beginnings are read."""
PIECES = 64
"""Approximate number of blocks in the beginnings."""


@dataclass(frozen=True)
class Block:
    """A part of a file; `limit` is the number of rows to read, in blocks of `piece` rows, or None for all."""

    split: Split
    bytes: int
    limit: int | None = None
    piece: int = 0

    @property
    def count(self) -> int:
        """Number of blocks that this part counts for."""
        return 1 if self.limit is None else -(-self.limit // self.piece)


@dataclass(frozen=True)
class BlockSample:
    """The chosen blocks of a table.

    Attributes:
        blocks: the blocks to read, in the order of the files.
        total: number of blocks of the table.
        rows: rows of the table, from footers or estimated from bytes.
        fair: whether every block had the same chance to be read, and the chosen ones are read completely.
    """

    blocks: tuple[Block, ...]
    total: int
    rows: sizing.Estimate
    fair: bool = True

    @property
    def whole(self) -> bool:
        """Whether the whole table is read."""
        return self.fair and len(self.blocks) == self.total

    @property
    def expected(self) -> float:
        """Expected number of rows read."""
        if not self.fair:
            return float(sum(b.limit or 0 for b in self.blocks))
        return self.rows.count * len(self.blocks) / max(1, self.total)

    def part(self, seen: int) -> Fraction:
        """The sampled fraction, once `seen` rows have been read."""
        read = sum(b.count for b in self.blocks)
        unread = 0 if self.whole else max(0, self.rows.count - seen)
        total = self.total
        if not self.fair:
            total = read + -(-unread // max(1, max(b.piece for b in self.blocks)))
        return Fraction(read, total, unread, self.fair)

    def row_count(self, seen: int) -> Interval:
        """Number of rows of the table: counted, from footers, or within a factor of two of an estimate from bytes."""
        if self.whole:
            return Interval.exactly(seen)
        if self.rows.basis == "read":
            return Interval.exactly(self.rows.count)
        guess = max(seen, self.rows.count)
        return Interval.between(max(seen, guess / 2), guess, guess * 2)


def choose_blocks(
    files: Sequence[InputFile],
    columns: Sequence[str],
    rows: sizing.Estimate,
    budget: int | None = SAMPLE_BYTES,
) -> BlockSample:
    """Choose the blocks of a table.

    Args:
        files: the table's files.
        columns: the columns to read; in Parquet only their bytes count.
        rows: number of rows of the table.
        budget: approximate number of bytes to read; None for all.
    """
    every = [block for file in files for block in _blocks(file, columns)]
    if budget is None or sum(b.bytes for b in every) <= budget:
        return BlockSample(tuple(every), len(every), rows)
    order = sorted(every, key=lambda b: stable_hash(b.split.file.name, str(b.split.first_row)))
    spent = np.cumsum([b.bytes for b in order])
    fitting = int(np.searchsorted(spent, budget, side="right"))
    texts = any(f.format != "parquet" for f in files)
    if texts and fitting < MIN_BLOCKS:
        beginnings = _beginnings(order[:MAX_BEGINNINGS], rows.count / max(1, spent[-1]), budget)
        return BlockSample(
            tuple(sorted(beginnings, key=lambda b: b.split.place)), len(every), rows, False
        )
    chosen = sorted(order[: max(MIN_BLOCKS, fitting)], key=lambda b: b.split.place)
    return BlockSample(tuple(chosen), len(every), rows)


def _blocks(file: InputFile, columns: Sequence[str]) -> Iterator[Block]:
    if file.format != "parquet":
        yield Block(Split(file), file.bytes)
        return
    meta = parquet_metadata(file)
    roots = root_columns(file.source, file_columns(columns, file.vectors))
    first = 0
    for k in range(meta.num_row_groups):
        group = meta.row_group(k)
        chunks = (group.column(c) for c in range(group.num_columns))
        wanted = (c for c in chunks if c.path_in_schema.split(".")[0] in roots)
        yield Block(Split(file, (k,), first), sum(c.total_compressed_size for c in wanted))
        first += group.num_rows


def _beginnings(files: list[Block], rows_per_byte: float, budget: int) -> list[Block]:
    """The first rows of some text files, each with an equal share of the budget."""
    each = budget / len(files)
    limits = [max(1, round(rows_per_byte * min(b.bytes, each))) for b in files]
    piece = max(MIN_BLOCKS, sum(limits) // PIECES)
    return [Block(b.split, b.bytes, n, piece) for b, n in zip(files, limits, strict=True)]


def batches(got: BlockSample, columns: Sequence[str]) -> Iterator[tuple[int, Split, ReadBatch]]:
    """Read the requested columns of all chosen blocks: (number of the block, its split, a batch of its rows)."""
    number = 0
    for block in got.blocks:
        for batch in prefetched(read_split(block.split, columns)):
            if block.limit is None:
                yield number, block.split, batch
                continue
            physical = physical_rows(block.split.file, batch.rows)
            inside = int(np.searchsorted(physical, block.limit))
            for start in range(0, inside, block.piece):
                first = int(physical[start]) // block.piece
                yield (
                    number + first,
                    block.split,
                    _slice(batch, start, min(inside, start + block.piece)),
                )
            if inside < len(batch.rows):
                break
        number += block.count


def _slice(batch: ReadBatch, start: int, stop: int) -> ReadBatch:
    """A slice of a batch; the first one has its bad and short rows, each its share of the filtered ones."""
    bad, short = ([], []) if start else (batch.bad, batch.short)
    table, rows = batch.table.slice(start, stop - start), batch.rows[start:stop]
    total = len(batch.rows)
    filtered = batch.filtered * stop // total - batch.filtered * start // total
    return batch._replace(table=table, rows=rows, bad=bad, short=short, filtered=filtered)
