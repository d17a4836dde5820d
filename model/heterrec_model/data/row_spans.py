"""Spans of rows in the shards of a split: which rows a consumer reads, and in which order.

A consumer is one worker of one rank. The row groups of all shards are permuted and concatenated; each consumer reads an
equal, contiguous part. So every row has one consumer, consumers differ by at most one row, and only the row groups at
their borders are read twice.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pyarrow as pa

from heterrec_schemas import Generation

_READERS = 8
"""Threads that read shard footers."""


@dataclass(frozen=True)
class RowSpan:
    """Consecutive rows of one row group.

    Attributes:
        path: of the shard.
        group: number of the row group in the shard.
        start: first row, counted within the row group.
        stop: one past the last row.
        split: of the shard.
    """

    path: str
    group: int
    start: int
    stop: int
    split: str = "train"

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start


def row_group_spans(generation: Generation, split: str) -> list[RowSpan]:
    """All non-empty row groups of a split, in the order of the shards.

    Raises:
        CallError: the split does not exist.
        CorruptGenerationError: a shard cannot be read.
    """

    def of_shard(path: str) -> list[RowSpan]:
        with generation.open_shard(path) as shard:
            meta = shard.metadata
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        return [RowSpan(path, group, 0, rows, split) for group, rows in enumerate(sizes) if rows]

    paths = generation.sequence_shards(split)
    with ThreadPoolExecutor(_READERS) as readers:
        return [span for spans in readers.map(of_shard, paths) for span in spans]


def consumer_spans(
    spans: Sequence[RowSpan], consumer: int, consumers: int, order: np.random.Generator
) -> list[RowSpan]:
    """The spans of one consumer, in reading order; `order` is equally seeded for all consumers."""
    permuted = [spans[n] for n in order.permutation(len(spans))]
    rows = sum(span.rows for span in spans)
    start, stop = (rows * n // consumers for n in (consumer, consumer + 1))
    return cut_spans(permuted, start, stop)


def windows(rows: int, most: int) -> list[int]:
    """Borders of the fewest windows of similar size with at most `most` rows each: [windows + 1]."""
    count = -(-rows // most)
    return [rows * n // max(count, 1) for n in range(count + 1)]


def cut_spans(spans: Sequence[RowSpan], start: int, stop: int) -> list[RowSpan]:
    """The rows start .. stop of concatenated spans."""
    begins = accumulate((span.rows for span in spans), initial=0)
    parts = (
        replace(
            span,
            start=span.start + max(start - begin, 0),
            stop=span.start + min(stop - begin, span.rows),
        )
        for span, begin in zip(spans, begins, strict=False)
    )
    return [span for span in parts if span.rows > 0]


class RowGroupReader:
    """Reads some columns of spans and caches the last row group, because consecutive spans often share it."""

    def __init__(self, generation: Generation, columns: Sequence[str]) -> None:
        self._generation, self._columns = generation, list(columns)
        self._cached: tuple[tuple[str, int], pa.Table] | None = None

    def read(self, span: RowSpan) -> pa.Table:
        """The rows of a span.

        Raises:
            CorruptGenerationError: the shard cannot be read, or its content is wrong.
        """
        key = (span.path, span.group)
        if self._cached is None or self._cached[0] != key:
            self._cached = None
            [table] = self._generation.row_groups(span.path, self._columns, [span.group])
            self._cached = (key, table)
        return self._cached[1].slice(span.start, span.rows)
