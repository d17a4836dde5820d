"""Cut rows into batches of like length, within limits of users and items."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from heterrec_model.config import Config
from heterrec_model.data.lists import Integers


@dataclass(frozen=True)
class BatchLimits:
    """What a batch may hold.

    Attributes:
        users: at most so many.
        items: users times the longest history, padding included, unless one user alone has more.
        by_length: put histories of like length together.
    """

    users: int
    items: int
    by_length: bool

    @classmethod
    def of(cls, config: Config) -> Self:
        """The limits in training."""
        data = config.data
        return cls(data.batch_users, data.batch_items, data.length_buckets)


def cut_batches(lengths_R: Integers, limits: BatchLimits) -> list[Integers]:
    """The rows of each batch, shortest histories first; equal lengths keep the order of the rows.

    Args:
        lengths_R: how many items each row's history has, in the order that `by_length: false` keeps.
        limits: what a batch may hold.
    """
    rows_R = np.arange(len(lengths_R))
    if limits.by_length:
        rows_R = np.argsort(lengths_R, kind="stable")
    sorted_R = lengths_R[rows_R]
    counts = np.arange(1, limits.users + 1)
    batches, start = [], 0
    while start < len(rows_R):
        longest = np.maximum.accumulate(sorted_R[start : start + limits.users])
        # Grows with every further user, so that the first limit passed is the border.
        items = longest * counts[: len(longest)]
        users = max(int(np.searchsorted(items, limits.items, side="right")), 1)
        batches.append(rows_R[start : start + users])
        start += users
    return batches


def shuffled_batches(
    lengths_R: Integers, limits: BatchLimits, rng: np.random.Generator
) -> list[Integers]:
    """The rows of each batch, the rows shuffled before they are cut and the batches after."""
    order_R = rng.permutation(len(lengths_R))
    batches = cut_batches(lengths_R[order_R], limits)
    return [order_R[batches[place]] for place in rng.permutation(len(batches))]
