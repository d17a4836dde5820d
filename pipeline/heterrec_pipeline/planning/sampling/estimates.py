"""Numbers with an interval, and how many distinct values a table has when only some of its blocks were read.

The unit of the sample is the block, not the row: rows of one block are alike (a user's stand together in a log sorted by
user), blocks were picked by hash. Of M blocks m were read; a value that stands in K of the M blocks was found in x of the m.
Values with x = 1 say how many are still unseen (Charikar and others, 2000; Chao, 1987): with q = m / M,

    E[unseen] = sum (1 - q)^K <= (1 - q) / q * sum K q (1 - q)^(K - 1) = (1 - q) / q * E[values with x = 1]
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.99
"""How surely an interval holds the truth, for blocks that are alike."""
SIGMAS = 3.0
"""So many standard errors an interval is wide: a little more than the confidence needs."""
ENOUGH = 8
"""With fewer blocks than this nothing is said of those that were not read."""
GRID = 48
STEPS = 60

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number: exact where low and high are equal, else an interval around a best guess."""

    low: int
    value: int
    high: int

    @classmethod
    def exactly(cls, value: int) -> "Estimate":
        """A number that was counted."""
        return cls(value, value, value)

    @classmethod
    def between(cls, low: float, value: float, high: float) -> "Estimate":
        """An interval, and a guess that is moved into it."""
        first, last = max(0, math.floor(low)), max(0, math.ceil(high))
        return cls(first, min(max(round(value), first), max(first, last)), max(first, last))

    @property
    def exact(self) -> bool:
        """Whether it was counted."""
        return self.low == self.high

    def as_json(self) -> dict[str, int | bool]:
        """As plain data."""
        return {"low": self.low, "value": self.value, "high": self.high, "exact": self.exact}


@dataclass(frozen=True)
class Fraction:
    """What a sample is of the whole: m of M blocks, and how many rows were not read."""

    read: int
    total: int
    unread_rows: int
    fair: bool = True
    """Whether each block had the same chance to be read."""

    @property
    def whole(self) -> bool:
        """Whether all was read."""
        return self.fair and self.read == self.total

    @property
    def share(self) -> float:
        """q: the share of blocks that were read."""
        return self.read / self.total if self.total else 1.0


@dataclass
class Tally:
    """In how many of the blocks read each value stands; values are 64-bit hashes."""

    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)

    def add(self, block: npt.NDArray[np.uint64]) -> None:
        """Count a block; its values may stand in it several times."""
        self.hashes.append(np.unique(block))

    def incidence(self) -> tuple[Ints, Ints]:
        """X of every value found, and for each block how many of its values no other block has."""
        if not self.hashes:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        every = np.concatenate(self.hashes)
        _, inverse, found = np.unique(every, return_inverse=True, return_counts=True)
        alone = found[inverse] == 1
        ends = np.cumsum([len(h) for h in self.hashes])
        before = np.append(0, np.cumsum(alone))
        starts = np.append(0, ends[:-1])
        return found.astype(np.int64), (before[ends] - before[starts]).astype(np.int64)


def distinct(found: Ints, alone: Ints, part: Fraction, most: int | None = None) -> Estimate:
    """How many distinct values the whole table has.

    Args:
        found: [d] x of every value found.
        alone: [m] how many of a block's values no other block read has.
        part: what was read.
        most: how many values the unread rows can add at most; by default one a row.
    """
    seen = len(found)
    if part.whole:
        return Estimate.exactly(seen)
    ceiling = seen + (part.unread_rows if most is None else most)
    guess = seen + unseen(found, part)
    if part.read < ENOUGH or not part.fair:
        return Estimate.between(seen, min(guess, ceiling), ceiling)
    ratio = (1 - part.share) / part.share
    spread = float(np.std(alone, ddof=1)) * math.sqrt(part.read)
    expected = ratio * (float(alone.sum()) + SIGMAS * spread + SIGMAS)
    high = seen + expected + SIGMAS * math.sqrt(expected)
    return Estimate.between(seen, min(guess, ceiling), min(high, ceiling))


def unseen(found: Ints, part: Fraction) -> float:
    """About how many values stand in no block that was read."""
    if len(found) == 0:
        return 0.0
    blocks, shares = spread_of(found, part)
    none = _chances(blocks, np.zeros(1, np.int64), part)[0]
    return float(len(found) * np.sum(shares * none / (1 - none)))


def likely_blocks(found: Ints, part: Fraction) -> tuple[Ints, Ints]:
    """In how many of all blocks each value found stands, and each value that was not found.

    Values with equal x get the numbers that the mixture of `spread_of` holds for likely given x, each as often as its
    chance says.

    Returns:
        [d] K of the values found, in their order; and K of those not found.
    """
    blocks, shares = spread_of(found, part)
    none = _chances(blocks, np.zeros(1, np.int64), part)[0]
    each = np.empty(len(found), dtype=np.int64)
    for x in np.unique(found).tolist():
        here = np.flatnonzero(found == x)
        chance = _chances(blocks, np.array([x]), part)[0] / (1 - none) * shares
        above = np.cumsum(chance / chance.sum())
        at = np.searchsorted(above, (np.arange(len(here)) + 0.5) / len(here))
        each[here] = np.maximum(x, blocks[np.minimum(at, len(blocks) - 1)])
    lacking = len(found) * shares * none / (1 - none)
    ends = np.floor(np.cumsum(lacking) + 0.5).astype(np.int64)
    counts: Ints = ends - np.append(0, ends[:-1])
    return each, np.repeat(blocks, counts)


def spread_of(found: Ints, part: Fraction) -> tuple[Ints, Floats]:
    """In how many of all blocks the values found stand: K on a grid, and the share of the values with it.

    The mixture of hypergeometric distributions, each given that x is above 0, that fits x best; some steps of the EM
    algorithm, no more: run to its end it would trust single counts too much.
    """
    blocks = np.unique(np.geomspace(1, part.total, GRID).round().astype(np.int64))
    values, counts = np.unique(found, return_counts=True)
    chance_XK = _chances(blocks, values, part)
    chance_XK /= 1 - _chances(blocks, np.zeros(1, np.int64), part)
    usable = chance_XK.sum(axis=0) > 0
    blocks, chance_XK = blocks[usable], chance_XK[:, usable]
    shares = np.full(len(blocks), 1 / len(blocks))
    for _ in range(STEPS):
        joint = chance_XK * shares
        total = joint.sum(axis=1, keepdims=True)
        shares = ((joint / np.maximum(total, 1e-300)) * counts[:, None]).sum(axis=0) / counts.sum()
    return blocks, shares


def _chances(blocks_K: Ints, found_X: Ints, part: Fraction) -> Floats:
    """[X, K] the chance that of a value's K blocks x are among the m of M that were read."""
    logs = np.append(0.0, np.cumsum(np.log(np.arange(1, part.total + 1, dtype=np.float64))))

    def choose(n: Ints, k: Ints) -> Floats:
        good = (k >= 0) & (k <= n)
        k = np.where(good, k, 0)
        return np.where(good, logs[n] - logs[k] - logs[n - k], -np.inf)

    read, rest = np.int64(part.read), np.int64(part.total - part.read)
    x, k = found_X[:, None], blocks_K[None, :]
    below = choose(np.broadcast_to(np.int64(part.total), k.shape), k)
    above = choose(np.broadcast_to(read, x.shape), x) + choose(
        np.broadcast_to(rest, (len(found_X), len(blocks_K))), k - x
    )
    chances: Floats = np.exp(above - below)
    return chances
