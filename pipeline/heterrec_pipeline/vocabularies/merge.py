"""Merge sorted streams of frames, with one batch of each stream in memory."""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

RANK, ORDER = "rank", "order"
"""Columns that streams are sorted by: rank (integers), then order (integers, or texts by their UTF-8 bytes)."""


class _Head:
    """The buffered rows of a stream."""

    def __init__(self, stream: Iterable[pl.DataFrame]) -> None:
        self._stream = iter(stream)
        self.rows = pl.DataFrame()
        self.ended = False

    def fill(self) -> bool:
        """Read the next batch if the buffer is empty; returns whether there are rows."""
        while self.rows.is_empty() and not self.ended:
            batch = next(self._stream, None)
            self.ended = batch is None
            if batch is not None:
                self.rows = batch
        return not self.rows.is_empty()

    @property
    def last(self) -> tuple[Any, Any]:
        """The largest buffered row: all later rows of this stream are larger."""
        return self.rows[RANK][-1], self.rows[ORDER][-1]

    def take(self, bound: tuple[Any, Any]) -> pl.DataFrame:
        """Take the rows up to a bound."""
        rank, order = bound
        below = (pl.col(RANK) < rank) | ((pl.col(RANK) == rank) & (pl.col(ORDER) <= order))
        count = int(self.rows.select(below.sum()).item())
        taken, self.rows = self.rows.head(count), self.rows.slice(count)
        return taken


def merged(streams: Iterable[Iterable[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """The rows of all streams in one order.

    Args:
        streams: frames with the columns `RANK` and `ORDER`, each stream ascending by both.

    Yields:
        Frames, in ascending order.
    """
    heads = [_Head(s) for s in streams]
    while heads := [h for h in heads if h.fill()]:
        if len(heads) == 1:
            yield heads[0].rows
            heads[0].rows = heads[0].rows.clear()
            continue
        bound = min(h.last for h in heads)
        yield pl.concat([h.take(bound) for h in heads]).sort(RANK, ORDER)
