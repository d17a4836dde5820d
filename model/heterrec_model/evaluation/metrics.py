"""Recall and nDCG of sets of targets: their means over all orders of items with equal scores.

For a user with n targets at ranks r_1 .. r_n:

    Recall@k = number of r_i <= k / n
    nDCG@k   = sum over r_i <= k of 1 / log2(r_i + 1)  /  sum over r = 1 .. min(k, n) of 1 / log2(r + 1)

averaged over users. A target that shares the ranks f .. f + m - 1 with m - 1 items of equal score has each of them with the
probability 1 / m: it counts by the share of these ranks up to k, and by the mean of their gains. Both metrics are sums over
targets, so this is their exact mean over all orders of the ties, also if several targets of a user are tied.

Shapes: U users, P targets of all users, sorted by user.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from heterrec_schemas.errors import CallError, suggest

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Part = Literal["all", "warm", "cold", "repeated", "new"]
PARTS: tuple[Part, ...] = get_args(Part)
"""All targets; then targets among the candidates: with training interactions, without; in the user's history, not in it."""


@dataclass(frozen=True, eq=False)
class TargetRanks:
    """Targets of every user and their ranks.

    Attributes:
        user_ids: [U], int64 or text.
        user_P: user of the target, a row of `user_ids`, ascending; every user has at least one target.
        first_P: first rank of the items with the target's score, inf for an item that is no candidate.
        tied_P: number of these items, the target included, int64.
        warm_P: whether the item has training interactions.
        row_P: whether the item has a row in the catalogue.
        had_P: whether the item is in the user's history: the whole row of the generation, which may be longer than what a
            model reads.
    """

    user_ids: npt.NDArray[np.int64] | npt.NDArray[np.str_]
    user_P: npt.NDArray[np.int64]
    first_P: Floats
    tied_P: npt.NDArray[np.int64]
    warm_P: Bools
    row_P: Bools
    had_P: Bools

    @property
    def users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def ranked_P(self) -> Bools:
        """Whether the item is a candidate, [P]."""
        return np.isfinite(self.first_P)

    @property
    def mean_rank_P(self) -> Floats:
        """The mean rank over all orders of the ties, [P]; inf for an item that is no candidate."""
        return self.first_P + (self.tied_P - 1) / 2

    def part(self, part: Part) -> "TargetRanks":
        """The targets of a part, ranked among all candidates, and the users with such targets.

        Raises:
            CallError: the part does not exist.
        """
        if part == "all":
            return self
        if part not in PARTS:
            raise CallError(f"there is no part {part!r}", todo=suggest(part, PARTS))
        flag_P = self.warm_P if part in ("warm", "cold") else self.had_P
        return self.where(self.ranked_P & (flag_P if part in ("warm", "repeated") else ~flag_P))

    def where(self, chosen_P: Bools) -> "TargetRanks":
        """The targets selected by a mask, ranked among all candidates, and the users with such targets."""
        kept_V, user_P = np.unique(self.user_P[chosen_P], return_inverse=True)
        return TargetRanks(
            self.user_ids[kept_V],
            user_P.astype(np.int64),
            self.first_P[chosen_P],
            self.tied_P[chosen_P],
            self.warm_P[chosen_P],
            self.row_P[chosen_P],
            self.had_P[chosen_P],
        )


def metric_names(ks: Sequence[int]) -> list[str]:
    """`recall@10`, `ndcg@10`, ..., in the order of the ks."""
    return [f"{name}@{k}" for k in ks for name in ("recall", "ndcg")]


def user_metrics(ranks: TargetRanks, ks: Sequence[int]) -> dict[str, Floats]:
    """Metrics of every user by name, [U] each."""
    total_U = np.bincount(ranks.user_P, minlength=ranks.users)
    deepest = max(ks, default=0)
    # The gain of the first 0, 1, 2, .. ranks.
    gain_K = np.append(0, np.cumsum(1 / np.log2(np.arange(1, deepest + 1) + 1)))
    above_P = np.minimum(ranks.first_P - 1, deepest).astype(np.int64)
    values: dict[str, Floats] = {}
    for k in ks:
        low_P, high_P = np.minimum(above_P, k), np.minimum(above_P + ranks.tied_P, k)
        hit_P = (high_P - low_P) / ranks.tied_P
        gained_P = (gain_K[high_P] - gain_K[low_P]) / ranks.tied_P
        hit_U, gained_U = (
            np.bincount(ranks.user_P, weights=x_P, minlength=ranks.users)
            for x_P in (hit_P, gained_P)
        )
        values[f"recall@{k}"] = hit_U / total_U
        values[f"ndcg@{k}"] = gained_U / gain_K[np.minimum(total_U, k)]
    return values


def mean_metrics(ranks: TargetRanks, ks: Sequence[int]) -> dict[str, float | None]:
    """Metrics averaged over users; None without users."""
    if not ranks.users:
        return dict.fromkeys(metric_names(ks))
    means: dict[str, float | None] = {
        name: float(values_U.mean()) for name, values_U in user_metrics(ranks, ks).items()
    }
    check_bound(ranks, means, ks)
    return means


def check_bound(ranks: TargetRanks, metrics: Mapping[str, float | None], ks: Sequence[int]) -> None:
    """Assert nDCG@b - nDCG@a <= (Recall@b - Recall@a) / log2(a + 2) if every user has one target.

    The gain of a target ranked between a and b is at most that of rank a + 1, so this also holds for means over ties.

    Raises:
        AssertionError: the bound is violated, so the metrics are wrong.
    """
    if len(ranks.user_P) != ranks.users:
        return
    for a, b in pairwise(sorted(ks)):
        gained, hit = (
            (metrics[f"{name}@{b}"] or 0.0) - (metrics[f"{name}@{a}"] or 0.0)
            for name in ("ndcg", "recall")
        )
        limit = hit / math.log2(a + 2)
        assert gained <= limit + 1e-9, (
            f"nDCG@{b} - nDCG@{a} = {gained} exceeds its bound {limit}: the metrics are wrong"
        )
