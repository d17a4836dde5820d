"""Intervals, and estimates of the number of distinct values of a table from some of its blocks.

The unit of the sample is the block, not the row, because rows of one block are alike (a log may be sorted by user); blocks
are chosen by hash. Of M blocks, m were read; a value that occurs in K of the M blocks was found in x of the m. Values with
x = 1 give the number of values still unseen (Charikar and others, 2000; Chao, 1987): with q = m / M,

    E[unseen] = sum (1 - q)^K <= (1 - q) / q * sum K q (1 - q)^(K - 1) = (1 - q) / q * E[values with x = 1]
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

CONFIDENCE = 0.99
"""Probability that an interval holds the true number, for blocks that are alike."""
SIGMAS = 3.0
"""Width of an interval in standard errors: a little more than the confidence needs."""
MIN_BLOCKS = 8
"""Minimum number of read blocks for a statistical bound of the unread ones."""
MERGE_AT = 16
"""Number of partial counts that are merged at a time."""
GRID = 48
"""Number of values of K in the mixture of `unseen`."""
STEPS = 60
"""Steps of the EM algorithm; at convergence it would overfit single counts."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A number: exact where low and high are equal, else an interval around the best guess."""

    low: int
    value: int
    high: int

    @classmethod
    def exactly(cls, value: int) -> "Interval":
        """A number that was counted."""
        return cls(value, value, value)

    @classmethod
    def between(cls, low: float, value: float, high: float) -> "Interval":
        """An interval, and a guess that is clipped to it."""
        first, last = max(0, math.floor(low)), max(0, math.ceil(high))
        return cls(first, min(max(round(value), first), max(first, last)), max(first, last))

    @classmethod
    def spread(cls, value: float) -> "Interval":
        """A number scaled from a sample, with an interval of 25% to both sides."""
        return cls.between(value * 0.75, value, value * 1.25)

    @property
    def exact(self) -> bool:
        """Whether the number was counted."""
        return self.low == self.high

    def as_json(self) -> dict[str, int | bool]:
        """The interval as plain data."""
        return {"low": self.low, "value": self.value, "high": self.high, "exact": self.exact}


@dataclass(frozen=True)
class Fraction:
    """The part of a table that was read: m of M blocks, the number of unread rows, whether all blocks were equally likely."""

    read: int
    total: int
    unread_rows: int
    fair: bool = True

    @property
    def whole(self) -> bool:
        """Whether the whole table was read."""
        return self.fair and self.read == self.total

    @property
    def share(self) -> float:
        """q: the share of blocks that were read."""
        return self.read / self.total if self.total else 1.0


class BlockCounts:
    """The distinct values of each block read, as 64-bit hashes, and the number of rows that hold each."""

    def __init__(self) -> None:
        """Start without values."""
        self._parts = [
            pl.DataFrame(schema={"block": pl.Int64, "key": pl.UInt64, "rows": pl.UInt32})
        ]

    def add(self, block: int, hashes: pl.Series) -> None:
        """Add values of a block."""
        found = pl.DataFrame({"key": hashes}).group_by("key").len("rows")
        self._parts.append(found.select(pl.lit(block, pl.Int64).alias("block"), "key", "rows"))
        if len(self._parts) > MERGE_AT:
            self._parts = [self._table()]

    def _table(self) -> pl.DataFrame:
        return pl.concat(self._parts).group_by("block", "key").agg(pl.col("rows").sum())

    def rows(self) -> pl.DataFrame:
        """Columns key and rows, sorted by key."""
        return self._table().group_by("key").agg(pl.col("rows").sum()).sort("key")

    def incidence(self) -> tuple[Ints, Ints]:
        """[d] x of every value found, and [m] the number of values of each block that no other block has."""
        every = self._table().with_columns(x=pl.len().over("key"))
        found = every.unique("key")["x"]
        alone = every.group_by("block").agg((pl.col("x") == 1).sum())["x"]
        return found.to_numpy().astype(np.int64), alone.to_numpy().astype(np.int64)


def distinct(tally: BlockCounts, part: Fraction, most: int | None = None) -> Interval:
    """The number of distinct values of the whole table.

    Args:
        tally: the values found.
        part: what was read of the table.
        most: maximum number of values that the unread rows can add; by default one per row.
    """
    found, alone = tally.incidence()
    seen = len(found)
    if part.whole:
        return Interval.exactly(seen)
    ceiling = seen + (part.unread_rows if most is None else most)
    guess = min(seen + unseen(found, part), ceiling)
    if part.read < MIN_BLOCKS or len(alone) < 2 or not part.fair:
        return Interval.between(seen, guess, ceiling)
    ratio = (1 - part.share) / part.share
    spread = float(np.std(alone, ddof=1)) * math.sqrt(part.read)
    expected = ratio * (float(alone.sum()) + SIGMAS * spread + SIGMAS)
    high = seen + expected + SIGMAS * math.sqrt(expected)
    return Interval.between(seen, guess, min(high, ceiling))


def unseen(found: Ints, part: Fraction) -> float:
    """The expected number of values that occur in no block read."""
    if len(found) == 0:
        return 0.0
    K, share_K = _mixture(found, part)
    none = (1 - part.share) ** K
    return float(len(found) * np.sum(share_K * none / (1 - none)))


def likely_blocks(found: Ints, part: Fraction) -> tuple[Ints, Ints]:
    """K of each value found, and of each value not found, by the mixture of `unseen`.

    Values with equal x get the likely K in proportion to their probability.
    """
    K, share_K = _mixture(found, part)
    each = np.empty(len(found), np.int64)
    for x in np.unique(found):
        here = np.flatnonzero(found == x)
        above = np.cumsum(_chance(np.array([x]), K, part)[0] * share_K)
        at = np.searchsorted(above / above[-1], (np.arange(len(here)) + 0.5) / len(here))
        each[here] = np.maximum(x, K[np.minimum(at, len(K) - 1)])
    none = (1 - part.share) ** K
    ends = np.floor(np.cumsum(len(found) * share_K * none / (1 - none)) + 0.5).astype(np.int64)
    return each, np.repeat(K, np.diff(ends, prepend=0))


def _mixture(found: Ints, part: Fraction) -> tuple[Ints, Floats]:
    """The distribution of K among the values found: K on a grid, and the share of each.

    x is modelled as a mixture of binomial distributions of K trials, each given x > 0, which EM fits.
    """
    K = np.unique(np.geomspace(1, part.total, GRID).round().astype(np.int64))
    x, count = np.unique(found, return_counts=True)
    chance_xK, share_K = _chance(x, K, part), np.full(len(K), 1 / len(K))
    for _ in range(STEPS):
        joint = chance_xK * share_K
        joint /= np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        share_K = count @ joint / len(found)
    return K, share_K


def _chance(x: Ints, K: Ints, part: Fraction) -> Floats:
    """[x, K] probability that x of a value's K blocks were read, given that one was."""
    q, few = part.share, np.minimum(x[:, None], K)
    factorial = np.append(0.0, np.cumsum(np.log(np.arange(1.0, part.total + 1))))
    ways = factorial[K] - factorial[few] - factorial[K - few]
    chance: Floats = np.exp(ways + few * np.log(q) + (K - few) * np.log1p(-q))
    return np.where(x[:, None] > K, 0.0, chance / (1 - (1 - q) ** K))
