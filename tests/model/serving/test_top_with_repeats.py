"""Own items merged into a search: the best of all items by brute force, with and without an index."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.retrieval.exact import NONE, Ints, exact_top

ITEMS, USERS, WIDTH = 60, 12, 4


class GivenOwnItems:
    """Own items and their scores by user."""

    def __init__(self, own: list[tuple[Ints, Any]]) -> None:
        self.own = iter(own)

    def of(self, *arguments: object) -> tuple[Ints, Any]:
        return next(self.own)


@pytest.mark.parametrize("k", [1, 5, 40, 70])
@pytest.mark.parametrize("allowed", [None, 3, 30])
@pytest.mark.parametrize("index", [False, True])
def test_the_answer_is_the_best_of_all(k: int, allowed: int | None, index: bool) -> None:
    """Own items are none, a few, the best ones, nearly all or all; some are hidden."""
    random = np.random.default_rng(k)
    items_ND = random.standard_normal((ITEMS, WIDTH)).astype(np.float32)
    users_BD = random.standard_normal((USERS, WIDTH)).astype(np.float32)
    best = [np.argsort(-(items_ND @ user_D)) for user_D in users_BD]
    own = []
    for user, order in enumerate(best):
        rows = np.sort(order[: [0, 3, 8, 20, 58, ITEMS][user % 6]])
        own.append((rows, random.standard_normal(len(rows)).astype(np.float32)))
    some = None if allowed is None else np.sort(random.choice(ITEMS, allowed, replace=False))
    hidden = [np.sort(random.choice(ITEMS, user % 5, replace=False)) for user in range(USERS)]
    calls = []

    def top(vectors_BD: Any, k: int, *, allowed: Any, hidden: Any) -> Any:
        calls.append(len(vectors_BD))
        return exact_top(vectors_BD, items_ND, k, allowed=allowed, hidden=hidden)

    recommender = object.__new__(BundleRecommender)
    recommender.repeats = GivenOwnItems(own)  # type: ignore[assignment]
    recommender.catalogue = None  # type: ignore[assignment]
    recommender.searcher = SimpleNamespace(  # type: ignore[assignment]
        items_ND=items_ND, index=object() if index else None, top=top
    )
    found = recommender.top(users_BD, [None] * USERS, k, some, hidden)  # type: ignore[list-item]
    assert len(calls) <= 2 if index else len(calls) == 1
    for user in range(USERS):
        scores = items_ND @ users_BD[user]
        scores[own[user][0]] = own[user][1]
        kept = set(range(ITEMS) if some is None else some.tolist()) - set(hidden[user].tolist())
        order = sorted(kept, key=lambda row: -scores[row])[:k]
        position = found.position_BK[user]
        assert position[position != NONE].tolist() == order
        np.testing.assert_allclose(found.score_BK[user][: len(order)], scores[order], atol=1e-5)
