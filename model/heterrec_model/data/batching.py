"""Group rows into batches of similar length, within limits on users and items."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from heterrec_model.config import Config
from heterrec_model.data.ragged_array import IntArray


@dataclass(frozen=True)
class BatchLimits:
    """Limits of a batch.

    Attributes:
        users: maximum number of users.
        items: maximum of users times longest history, padding included; a single longer history is allowed.
        by_length: group histories of similar length.
    """

    users: int
    items: int
    by_length: bool

    @classmethod
    def of(cls, config: Config) -> Self:
        """The limits in training."""
        data = config.data
        return cls(data.batch_users, data.batch_items, data.length_buckets)


def cut_batches(lengths_R: IntArray, limits: BatchLimits) -> list[IntArray]:
    """Row numbers of each batch, from the history lengths of the rows: shortest first; equal lengths keep their order."""
    rows_R = np.arange(len(lengths_R))
    if limits.by_length:
        rows_R = np.argsort(lengths_R, kind="stable")
    sorted_R = lengths_R[rows_R]
    counts = np.arange(1, limits.users + 1)
    batches, start = [], 0
    while start < len(rows_R):
        longest = np.maximum.accumulate(sorted_R[start : start + limits.users])
        # Increases with every user, so the batch ends before the first value above the limit.
        items = longest * counts[: len(longest)]
        users = max(int(np.searchsorted(items, limits.items, side="right")), 1)
        batches.append(rows_R[start : start + users])
        start += users
    return batches


def shuffled_batches(
    lengths_R: IntArray, limits: BatchLimits, rng: np.random.Generator
) -> list[IntArray]:
    """Row numbers of each batch; both the rows and the finished batches are shuffled."""
    order_R = rng.permutation(len(lengths_R))
    batches = cut_batches(lengths_R[order_R], limits)
    return [order_R[batches[n]] for n in rng.permutation(len(batches))]
