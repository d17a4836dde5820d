"""Which rows of a split's shards a consumer reads, and in what order.

A consumer is one worker of one rank. The row groups of all shards are permuted and laid end to end; each consumer takes
an equal, contiguous part of that line. So every row has one consumer, consumers differ by one row at most, and only the
row groups at their borders are read twice.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa

from heterrec_schemas import Generation

_READERS = 8


@dataclass(frozen=True)
class Span:
    """Some rows of one row group.

    Attributes:
        path: of the shard.
        group: the row group's number in the shard.
        start: the first row, counted from the row group's own first.
        stop: behind the last row.
        split: that the shard belongs to.
    """

    path: str
    group: int
    start: int
    stop: int
    split: str = "train"

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.stop - self.start


def row_group_spans(generation: Generation, split: str) -> list[Span]:
    """Every row group of a split that has rows, whole, in the order of the shards.

    Raises:
        CallError: there is no such split.
        CorruptGenerationError: a shard cannot be read.
    """

    def of_shard(path: str) -> list[Span]:
        with generation.open_shard(path) as shard:
            meta = shard.metadata
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        return [Span(path, group, 0, rows, split) for group, rows in enumerate(sizes) if rows]

    paths = generation.sequence_shards(split)
    with ThreadPoolExecutor(_READERS) as readers:
        return [span for spans in readers.map(of_shard, paths) for span in spans]


def consumer_spans(
    spans: Sequence[Span], consumer: int, consumers: int, order: np.random.Generator
) -> list[Span]:
    """The part of one consumer, in the order of reading.

    Args:
        spans: everything.
        consumer: its number, from 0.
        consumers: how many there are.
        order: permutes the spans; equally seeded for all consumers.
    """
    permuted = [spans[place] for place in order.permutation(len(spans))]
    rows = sum(span.rows for span in spans)
    start, stop = (rows * place // consumers for place in (consumer, consumer + 1))
    return cut_spans(permuted, start, stop)


def windows(rows: int, most: int) -> list[int]:
    """The borders of as few windows of like size as hold the rows, `most` each: [windows + 1]."""
    count = -(-rows // most)
    return [rows * place // max(count, 1) for place in range(count + 1)]


def cut_spans(spans: Sequence[Span], start: int, stop: int) -> list[Span]:
    """The rows start .. stop of spans that are laid end to end."""
    begins = accumulate((span.rows for span in spans), initial=0)
    cut = (
        replace(
            span,
            start=span.start + max(start - begin, 0),
            stop=span.start + min(stop - begin, span.rows),
        )
        for span, begin in zip(spans, begins, strict=False)
    )
    return [span for span in cut if span.rows > 0]


class RowGroupReader:
    """Reads spans; the row group read last is kept, because the next span is often of the same.

    Args:
        generation: whose shards.
        columns: the columns to read.
    """

    def __init__(self, generation: Generation, columns: Sequence[str]) -> None:
        self._generation, self._columns = generation, list(columns)
        self._kept: tuple[tuple[str, int], pa.Table] | None = None

    def read(self, span: Span) -> pa.Table:
        """The rows of a span.

        Raises:
            CorruptGenerationError: the shard cannot be read.
        """
        key = (span.path, span.group)
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            with self._generation.open_shard(span.path) as shard:
                # One thread: other consumers read at the same time.
                table = shard.read_row_group(span.group, columns=self._columns, use_threads=False)
            self._kept = (key, table)
        return self._kept[1].slice(span.start, span.rows)
