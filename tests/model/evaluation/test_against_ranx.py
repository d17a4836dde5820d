"""The metrics and the mean ranks held against an independent library."""

import math
import warnings
from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from reference_metrics import GivenScores

from heterrec_model.evaluation.metrics import TargetRanks, mean_metrics, user_metrics
from heterrec_model.evaluation.ranking import UserBlock, UserItemPairs, rank_targets

pytestmark = pytest.mark.slow  # ranx is compiled when it is first called


def ranx_metrics(
    targets: Sequence[Sequence[int]], order: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, Any]:
    """What ranx finds for every user, items given best first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba, as it compiles ranx
        from ranx import Qrels, Run, evaluate

        wanted = {f"u{u:03d}": {str(t): 1 for t in ts} for u, ts in enumerate(targets)}
        run = {
            f"u{u:03d}": {str(i): float(len(items) - n) for n, i in enumerate(items)}
            for u, items in enumerate(order)
        }
        found = evaluate(Qrels(wanted), Run(run), list(names), return_mean=False)
    return found if isinstance(found, dict) else {names[0]: found}


def our_ranks(scores: torch.Tensor, targets: Sequence[Sequence[int]]) -> TargetRanks:
    users = len(targets)
    user_P = torch.repeat_interleave(torch.arange(users), torch.tensor([len(t) for t in targets]))
    place_P = torch.tensor([t for ts in targets for t in ts])
    block = UserBlock(torch.arange(float(users))[:, None], list(range(users)))
    rank_P, tied_P = rank_targets(
        GivenScores(scores), block, UserItemPairs(user_P, place_P), chunk_items=64
    )
    return TargetRanks(
        np.arange(users), user_P.numpy(), rank_P.numpy(), tied_P.numpy(), tied_P.numpy()
    )


def test_without_ties_the_metrics_are_those_of_ranx() -> None:
    """100 users, one to nine targets among 300 items."""
    random = np.random.default_rng(0)
    scores = torch.from_numpy(random.standard_normal((100, 300)))
    targets = [
        sorted(random.choice(300, random.integers(1, 10), replace=False).tolist())
        for _ in range(100)
    ]
    names = [f"{name}@{k}" for name in ("recall", "ndcg") for k in (1, 10, 50, 200)]
    theirs = ranx_metrics(targets, scores.argsort(dim=1, descending=True).tolist(), names)
    ranks = our_ranks(scores, targets)
    ours = user_metrics(ranks, (1, 10, 50, 200))
    for name in names:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-12)
        assert mean_metrics(ranks, (1, 10, 50, 200))[name] == pytest.approx(theirs[name].mean())


def tie_orders(scores: Sequence[float]) -> list[list[int]]:
    """Every order of the items, best first, that the scores allow."""
    groups = [
        [item for item, s in enumerate(scores) if s == value]
        for value in sorted(set(scores), reverse=True)
    ]
    return [
        [item for group in chosen for item in group]
        for chosen in product(*(permutations(group) for group in groups))
    ]


TIED = [
    ([3.0, 1.0, 1.0, 1.0, 0.0], [2]),
    ([3.0, 3.0, 1.0, 1.0, 0.0], [1]),
    ([2.0, 2.0, 2.0, 2.0, 2.0], [0]),
    ([4.0, 3.0, 3.0, 1.0, 1.0], [4]),
    ([5.0, 4.0, 4.0, 4.0, 0.0], [0, 3]),
    ([5.0, 5.0, 4.0, 4.0, 4.0], [1, 4]),
    ([2.0, 2.0, 1.0, 1.0], [0, 1]),
]


@pytest.mark.parametrize(("scores", "targets"), TIED)
def test_the_mean_rank_is_the_mean_of_the_ranks_that_ranx_gives(
    scores: list[float], targets: list[int]
) -> None:
    """Over all orders that the ties allow, the rank being 1 / MRR for a single target."""
    orders = tie_orders(scores)
    for target in targets:
        found = ranx_metrics([[target]] * len(orders), orders, ["mrr"])
        ours = our_ranks(torch.tensor([scores]), [[target]])
        assert (1 / found["mrr"]).mean() == pytest.approx(ours.rank_P[0])


@pytest.mark.parametrize(("scores", "targets"), TIED)
def test_with_ties_the_metrics_are_near_the_mean_over_all_orders(
    scores: list[float], targets: list[int]
) -> None:
    """Where no tie straddles k, Recall is that mean and nDCG at most that mean (1 / log2 is convex); where one does,
    only the targets of that tie can differ."""
    orders = tie_orders(scores)
    ranks = our_ranks(torch.tensor([scores]), [targets])
    for k in range(1, len(scores) + 1):
        names = [f"recall@{k}", f"ndcg@{k}"]
        theirs = ranx_metrics([targets] * len(orders), orders, names)
        recall, ndcg = (theirs[name].mean() for name in names)
        ours = user_metrics(ranks, [k])
        best = sorted(scores, reverse=True)
        straddles = k < len(scores) and best[k - 1] == best[k]
        if not straddles:
            assert ours[names[0]][0] == pytest.approx(recall)
            assert ours[names[1]][0] <= ndcg + 1e-12
            assert ours[names[1]][0] >= 0.8 * ndcg
        else:
            among = sum(scores[t] == best[k] for t in targets)
            assert abs(ours[names[0]][0] - recall) <= among / len(targets)


def test_the_loss_of_gain_is_known_for_a_tie_of_two() -> None:
    """A target that shares the first two ranks has 1 / log2(2.5), not the mean of 1 and 1 / log2(3)."""
    ours = user_metrics(our_ranks(torch.tensor([[1.0, 1.0, 0.0]]), [[0]]), [2])
    theirs = ranx_metrics([[0], [0]], [[0, 1, 2], [1, 0, 2]], ["ndcg@2"])["ndcg@2"]
    assert ours["ndcg@2"][0] == pytest.approx(1 / math.log2(2.5))
    assert theirs.mean() == pytest.approx((1 + 1 / math.log2(3)) / 2)
