"""Which pieces of a table a plan reads: all of a small one, of a larger one some that a stable hash picks.

A block is a row group of a Parquet file, or a whole text file. Of text files too large for that, the beginnings are read,
cut into pieces of some rows that then count as blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heterrec_pipeline.planning.sampling.estimates import Estimate, Fraction
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import InputFile, Split, parquet_metadata
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.reading.text import BLOCK, Blocks
from heterrec_schemas.hashing import stable_hash

SAMPLE_BYTES = 64 * 2**20
"""About how many bytes on disk a plan reads of each table."""
FEWEST = 8
"""So many blocks are read, if there are so many, however large they are."""
SPREAD = 16
"""Over so many text files the beginnings are spread."""
PIECES = 64
"""Into about so many pieces those are cut."""


@dataclass(frozen=True)
class Block:
    """What is read of one file or row group.

    Attributes:
        split: where it is.
        bytes: of its wanted columns on disk.
        rows: where a footer says them.
        limit: read only so many rows, in pieces of `piece`.
    """

    split: Split
    bytes: int
    rows: int | None = None
    limit: int | None = None
    piece: int = 0

    @property
    def count(self) -> int:
        """For how many blocks it counts."""
        return 1 if self.limit is None else -(-self.limit // self.piece)


@dataclass(frozen=True)
class Reach:
    """The blocks of a table that are read, and what they are of the whole.

    Attributes:
        blocks: those that are read, in the order of the files.
        total: how many blocks the table has.
        rows: how many rows the table has; None where only reading them tells, and all are read.
        exact: whether `rows` is counted rather than reckoned from bytes.
        pieces: whether each block had the same chance to be read, and is read whole.
    """

    blocks: tuple[Block, ...]
    total: int
    rows: int | None
    exact: bool
    pieces: bool = True

    @property
    def whole(self) -> bool:
        """Whether the table is read wholly."""
        return self.pieces and len(self.blocks) == self.total

    def part(self, rows: int) -> Fraction:
        """What was read of the table, when `rows` rows were seen."""
        count = sum(b.count for b in self.blocks)
        unread = 0 if self.whole else max(0, (self.rows or rows) - rows)
        total = self.total
        if not self.pieces:
            total = count + -(-unread // max(1, max(b.piece for b in self.blocks)))
        return Fraction(count, total, unread, fair=self.pieces)

    def row_count(self, seen: int) -> Estimate:
        """How many rows the table has: what footers say, what was counted, or what bytes let one guess."""
        if self.whole:
            return Estimate.exactly(seen)
        guess = self.rows or seen
        if self.exact:
            return Estimate.exactly(guess)
        return Estimate.between(max(seen, guess / 2), guess, guess * 2)

    @property
    def splits(self) -> list[Split]:
        """What to read."""
        return [b.split for b in self.blocks]


def reach(
    files: Sequence[InputFile], columns: Sequence[str], budget: int | None = SAMPLE_BYTES
) -> Reach:
    """Choose the blocks of a table.

    Args:
        files: the table's files.
        columns: the columns that will be read: only their bytes count in Parquet.
        budget: about how many bytes may be read; None for all.
    """
    every = [block for file in files for block in _blocks(file, columns)]
    rows = [b.rows for b in every]
    counted = sum(r for r in rows if r is not None) if None not in rows else None
    size = sum(b.bytes for b in every)
    if budget is None or size <= budget:
        return Reach(tuple(every), len(every), counted, counted is not None)
    order = sorted(range(len(every)), key=lambda k: _chance(every[k]))
    if counted is None:
        chosen, pieces = _texts([every[k] for k in order], budget)
        guess = round(size * sum(r for _, r, _ in chosen) / max(1, sum(n for _, _, n in chosen)))
        blocks = tuple(sorted((b for b, _, _ in chosen), key=lambda b: b.split))
        return Reach(blocks, len(every), guess, False, pieces)
    taken: list[int] = []
    spent = 0
    for k in order:
        if len(taken) >= FEWEST and spent + every[k].bytes > budget:
            break
        taken.append(k)
        spent += every[k].bytes
    return Reach(tuple(every[k] for k in sorted(taken)), len(every), counted, True)


def _chance(block: Block) -> int:
    """Random-looking, and the same for the same file whatever folder it lies in."""
    return stable_hash(block.split.file.name, str(block.split.first_row))


def _blocks(file: InputFile, columns: Sequence[str]) -> Iterator[Block]:
    if file.format != "parquet":
        yield Block(Split(file), file.bytes)
        return
    meta = parquet_metadata(file)
    first = 0
    for k in range(meta.num_row_groups):
        group = meta.row_group(k)
        size = sum(
            group.column(c).total_compressed_size
            for c in range(group.num_columns)
            if group.column(c).path_in_schema.split(".")[0] in columns
        )
        yield Block(Split(file, (k,), first), size, group.num_rows)
        first += group.num_rows


def _texts(files: list[Block], budget: int) -> tuple[list[tuple[Block, int, int]], bool]:
    """Text files within the budget, each with its lines and the bytes they took; whether they are read whole.

    Whole files are taken where at least `FEWEST` of them fit, else the beginnings of several.
    """
    fitting, spent = [], 0
    for block in files:
        if spent + block.bytes > budget:
            break
        fitting.append(block)
        spent += block.bytes
    pieces = len(fitting) >= FEWEST
    some = fitting if pieces else files[:SPREAD]
    each = budget // len(some)
    sizes = [_beginning(b.split.file, b.bytes if pieces else each) for b in some]
    if pieces:
        return [(b, *size) for b, size in zip(some, sizes, strict=True)], True
    piece = max(FEWEST, sum(lines for lines, _ in sizes) // PIECES)
    chosen = [
        (Block(b.split, size, None, max(1, lines), piece), lines, size)
        for b, (lines, size) in zip(some, sizes, strict=True)
    ]
    return chosen, False


def batches(block: Block, columns: Sequence[str]) -> Iterator[Iterator[ReadBatch]]:
    """The wanted columns of a block: for each block that it counts for, its batches."""
    read = prefetched(read_split(block.split, columns))
    if block.limit is None:
        yield read
        return
    for batch in read:
        inside = int(np.searchsorted(batch.rows, block.limit))
        for start in range(0, inside, block.piece):
            yield iter([_slice(batch, start, min(inside, start + block.piece))])
        if inside < len(batch.rows):
            return


def _slice(batch: ReadBatch, start: int, stop: int) -> ReadBatch:
    rows = batch.rows[start:stop]
    low, high = (int(rows[0]) if start else -1), int(rows[-1])
    bad, short = ([b for b in odd if low <= b.row <= high] for odd in (batch.bad, batch.short))
    return ReadBatch(batch.table.slice(start, stop - start), rows, bad, short)


def _beginning(file: InputFile, budget: int) -> tuple[int, int]:
    """How many lines the first bytes of a text file hold, and how many bytes on disk they took."""
    lines = 0
    with Blocks(file) as stream:
        while stream.consumed < budget:
            got = stream.read(min(BLOCK, max(2**16, budget)))
            if not got:
                return lines, file.bytes
            lines += got.count(b"\n")
        return lines, min(file.bytes, stream.consumed)
