"""The metrics compared with those of an independent library."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from reference_metrics import GivenScores, orders_of

from heterrec_model.evaluation.metrics import TargetRanks, mean_metrics, user_metrics
from heterrec_model.evaluation.ranking import UserBlock, UserItemPairs, rank_targets


def ranx_metrics(
    targets: Sequence[Sequence[int]], order: Sequence[Sequence[int]], names: Sequence[str]
) -> dict[str, Any]:
    """What ranx finds for every user, items given best first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba
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
    first_P, tied_P = rank_targets(
        GivenScores(scores), block, UserItemPairs(user_P, place_P), chunk_items=64
    )
    flags = np.ones(len(user_P), bool)
    return TargetRanks(
        np.arange(users), user_P.numpy(), first_P.numpy(), tied_P.numpy(), flags, flags, ~flags
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
    orders = list(orders_of(dict(enumerate(scores))))
    for target in targets:
        found = ranx_metrics([[target]] * len(orders), orders, ["mrr"])
        ours = our_ranks(torch.tensor([scores]), [[target]])
        assert (1 / found["mrr"]).mean() == pytest.approx(ours.mean_rank_P[0])


@pytest.mark.parametrize(("scores", "targets"), TIED)
def test_with_ties_the_metrics_are_the_mean_over_all_orders(
    scores: list[float], targets: list[int]
) -> None:
    orders = list(orders_of(dict(enumerate(scores))))
    ranks = our_ranks(torch.tensor([scores]), [targets])
    for k in range(1, len(scores) + 1):
        names = [f"recall@{k}", f"ndcg@{k}"]
        theirs = ranx_metrics([targets] * len(orders), orders, names)
        ours = user_metrics(ranks, [k])
        for name in names:
            assert ours[name][0] == pytest.approx(theirs[name].mean())
