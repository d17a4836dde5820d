"""Merge sorted streams in bulk: whole tables of rows at a time, and never more than a batch of each stream in memory."""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

RANK, ORDER = "rank", "order"
"""What streams are sorted by: rank (integers), then order (integers, or texts by their UTF-8 bytes)."""


class _Head:
    """The rows of a stream that are waiting."""

    def __init__(self, stream: Iterable[pl.DataFrame]) -> None:
        self._stream = iter(stream)
        self.rows = pl.DataFrame()
        self.ended = False

    def fill(self) -> bool:
        """Whether rows are waiting; takes the next batch when there are none."""
        while self.rows.is_empty() and not self.ended:
            found = next(self._stream, None)
            self.ended = found is None
            if found is not None:
                self.rows = found
        return not self.rows.is_empty()

    @property
    def last(self) -> tuple[Any, Any]:
        """The largest row that waits: everything that is still to come from this stream lies behind it."""
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
        Frames, ascending, one behind the other.
    """
    heads = [_Head(s) for s in streams]
    while heads := [h for h in heads if h.fill()]:
        if len(heads) == 1:
            yield heads[0].rows
            heads[0].rows = heads[0].rows.clear()
            continue
        bound = min(h.last for h in heads)
        yield pl.concat([h.take(bound) for h in heads]).sort(RANK, ORDER)
