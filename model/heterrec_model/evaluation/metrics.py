"""Recall and nDCG of sets of targets, from their mean ranks.

For a user with n targets, h of which have a rank of at most k:

    Recall@k = h / n
    nDCG@k   = sum over those h of 1 / log2(rank + 1)  /  sum over r = 1 .. min(k, n) of 1 / log2(r + 1)

averaged over users. Ranks are mean ranks (see ranking.py), so ties can give half ranks: a target is a hit if its mean rank
is at most k, and its gain is that of the mean rank. Without ties this is the usual definition. With ties it is the metric of
the expected rank, not the expected metric, which would count partial hits for a tie across k and a slightly greater gain
elsewhere (1 / log2 is convex). Tied targets of one user all get the rank in the middle of the tie: a perfect order then has
an nDCG just below 1, and with a tie across k either all of them are hits or none. `targets_tied` of an evaluation is the
number of targets this can affect.

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
Part = Literal["all", "warm", "cold"]
PARTS: tuple[Part, ...] = get_args(Part)
"""All targets; targets with training interactions; targets without."""


@dataclass(frozen=True, eq=False)
class TargetRanks:
    """Targets of every user and their ranks.

    Attributes:
        user_ids: [U], int64 or text.
        user_P: user of the target, a row of `user_ids`, ascending; every user has at least one target.
        rank_P: mean rank, inf for an item without a row in the catalogue.
        warm_P: whether the item has training interactions.
        tied_P: whether another item has the same score.
    """

    user_ids: npt.NDArray[np.int64] | npt.NDArray[np.str_]
    user_P: npt.NDArray[np.int64]
    rank_P: Floats
    warm_P: Bools
    tied_P: Bools

    @property
    def users(self) -> int:
        """U."""
        return len(self.user_ids)

    def part(self, part: Part) -> "TargetRanks":
        """The targets of a part, ranked in the full catalogue, and the users with such targets.

        Raises:
            CallError: the part does not exist.
        """
        if part == "all":
            return self
        if part not in PARTS:
            raise CallError(f"there is no part {part!r}", todo=suggest(part, PARTS))
        chosen_P = self.warm_P if part == "warm" else ~self.warm_P
        kept_V, user_P = np.unique(self.user_P[chosen_P], return_inverse=True)
        return TargetRanks(
            self.user_ids[kept_V],
            user_P.astype(np.int64),
            self.rank_P[chosen_P],
            self.warm_P[chosen_P],
            self.tied_P[chosen_P],
        )


def metric_names(ks: Sequence[int]) -> list[str]:
    """`recall@10`, `ndcg@10`, ..., in the order of the ks."""
    return [f"{name}@{k}" for k in ks for name in ("recall", "ndcg")]


def user_metrics(ranks: TargetRanks, ks: Sequence[int]) -> dict[str, Floats]:
    """Metrics of every user by name, [U] each."""
    total_U = np.bincount(ranks.user_P, minlength=ranks.users)
    gain_P = 1 / np.log2(ranks.rank_P + 1)
    values: dict[str, Floats] = {}
    for k in ks:
        ideal_K = np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1))
        hit_P = ranks.rank_P <= k
        user_H = ranks.user_P[hit_P]
        values[f"recall@{k}"] = np.bincount(user_H, minlength=ranks.users) / total_U
        gain_U = np.bincount(user_H, weights=gain_P[hit_P], minlength=ranks.users)
        values[f"ndcg@{k}"] = gain_U / ideal_K[np.minimum(total_U, k) - 1]
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

    The gain of a target ranked between a and b is at most that of rank a + 1, or of rank a + 1/2 with ties.

    Raises:
        AssertionError: the bound is violated, so the metrics are wrong.
    """
    if len(ranks.user_P) != ranks.users:
        return
    finite_P = ranks.rank_P[np.isfinite(ranks.rank_P)]
    step = 1.0 if np.array_equal(finite_P, np.floor(finite_P)) else 0.5
    for a, b in pairwise(sorted(ks)):
        gained, hit = (
            (metrics[f"{name}@{b}"] or 0.0) - (metrics[f"{name}@{a}"] or 0.0)
            for name in ("ndcg", "recall")
        )
        limit = hit / math.log2(a + step + 1)
        assert gained <= limit + 1e-9, (
            f"nDCG@{b} - nDCG@{a} = {gained} exceeds its bound {limit}: the metrics are wrong"
        )
