"""Bins of counts and days that are the same for any data, so that partial counts add up."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
MOST_DAYS = 400
"""Number of bins of time; where days are more, bins have 2, 4, 8 ... days."""


def first_of_bin(numbers: Ints) -> Ints:
    """The smallest number of the bin of each number, at least 0.

    Numbers below 8 have bins of their own; from there on, four bins reach from a power of two to the next one.
    """
    steps = np.maximum(np.frexp(numbers.astype(np.float64))[1] - 3, 0)
    firsts: Ints = numbers >> steps << steps
    return firsts


def end_of_bin(first: int) -> int:
    """The smallest number above a bin."""
    return first + (1 << max(first.bit_length() - 3, 0))


def binned(numbers: Ints) -> Iterator[tuple[int, int]]:
    """(smallest number of a bin, how many are in it), ascending."""
    firsts, counts = np.unique(first_of_bin(numbers), return_counts=True)
    yield from zip(firsts.tolist(), counts.tolist(), strict=True)


def coarse_days(days: Ints, counts: Ints) -> tuple[int, list[tuple[int, int]]]:
    """Counts by day to at most `MOST_DAYS` counts: (days per bin, (first day, count) ascending).

    Args:
        days: days since 1970, each once.
        counts: of each day.
    """
    width = 1
    while len(np.unique(days // width)) > MOST_DAYS:
        width *= 2
    firsts, at = np.unique(days // width * width, return_inverse=True)
    sums = np.zeros(len(firsts), dtype=np.int64)
    np.add.at(sums, at, counts)
    return width, list(zip(firsts.tolist(), sums.tolist(), strict=True))
