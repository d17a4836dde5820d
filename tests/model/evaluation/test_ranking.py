import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_metrics import MANY, GivenScores, over_all_orders, shared_ranks
from scipy.stats import rankdata
from torch import Tensor

from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_model.evaluation import ranking
from heterrec_model.evaluation.metrics import TargetRanks, user_metrics
from heterrec_model.evaluation.ranking import UserBlock, rank_targets
from heterrec_schemas.errors import RunError


def block_of(
    users: int, seen: UserItemPairs | None = None, added: AddedScores | None = None
) -> UserBlock:
    states = torch.arange(users, dtype=torch.float64)[:, None]
    return UserBlock(states, list(range(users)), seen, added)


def pairs_of(pairs: list[tuple[int, int]]) -> UserItemPairs:
    columns = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)
    return UserItemPairs(columns[:, 0], columns[:, 1])


@st.composite
def cases(
    draw: st.DrawFn,
) -> tuple[Tensor, list[tuple[int, int]], list[tuple[int, int]] | None, int]:
    """Scores with many ties, targets (some without a row), seen items, the items of a chunk."""
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    values = draw(st.integers(1, 6))
    scores = draw(st.lists(st.integers(0, values), min_size=users * items, max_size=users * items))
    kind = draw(st.sampled_from([torch.float32, torch.float64]))
    places = st.integers(NO_ROW, items - 1)
    targets = draw(st.sets(st.tuples(st.integers(0, users - 1), places), min_size=1))
    seen = draw(st.none() | st.lists(st.tuples(st.integers(0, users - 1), places)))
    matrix = torch.tensor(scores, dtype=kind).reshape(users, items) - values / 2
    return matrix, sorted(targets), seen, draw(st.integers(1, items + 1))


@MANY
@given(cases(), st.sampled_from([0, 6, 100]), st.sampled_from([1, 4, 2**20]), st.data())
def test_ranks_are_those_of_a_plain_count(
    case: tuple[Tensor, list[tuple[int, int]], list[tuple[int, int]] | None, int],
    sort_above: int,
    tile: int,
    data: st.DataObject,
) -> None:
    scores, targets, seen, chunk = case
    items = scores.shape[1]
    candidates = data.draw(st.none() | st.lists(st.booleans(), min_size=items, max_size=items))
    pair = st.tuples(st.integers(0, len(scores) - 1), st.integers(0, items - 1))
    more = data.draw(st.dictionaries(pair, st.integers(-3, 3)))
    added = None
    if more:
        user_P, position_P = torch.tensor(list(more)).T
        added = AddedScores(UserItemPairs(user_P, position_P), torch.tensor([*more.values()]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SORT_ABOVE", sort_above)
        patch.setattr(ranking, "_TILE", tile)
        first, tied = rank_targets(
            GivenScores(scores),
            block_of(len(scores), None if seen is None else pairs_of(seen), added),
            pairs_of(targets),
            chunk_items=chunk,
            candidates_N=None if candidates is None else torch.tensor(candidates),
        )
    scores = scores.clone()
    for (user, place), value in more.items():
        scores[user, place] += value
    for (user, place), *found in zip(targets, first.tolist(), tied.tolist(), strict=True):
        assert tuple(found) == shared_ranks(left_of(scores, user, targets, seen, candidates), place)


def left_of(
    scores: Tensor,
    user: int,
    targets: list[tuple[int, int]],
    seen: list[tuple[int, int]] | None,
    candidates: list[bool] | None,
) -> dict[int, float]:
    """The scores of the items that are ranked for a user."""
    of_user = {p for u, p in targets if u == user}
    hidden = {p for u, p in seen or () if u == user} - of_user
    hidden |= {p for p, known in enumerate(candidates or ()) if not known}
    return {p: s for p, s in enumerate(scores[user].tolist()) if p not in hidden}


@MANY
@given(st.data(), st.integers(1, 7), st.integers(1, 7), st.sampled_from([0, 6]))
def test_metrics_are_the_means_over_all_orders_of_the_ties(
    data: st.DataObject, items: int, k: int, sort_above: int
) -> None:
    """Several targets of one tie, some seen, some no candidates, some without a row."""
    scores = torch.tensor([data.draw(st.lists(st.integers(0, 2), min_size=items, max_size=items))])
    places = st.integers(NO_ROW, items - 1)
    targets = [(0, p) for p in sorted(data.draw(st.sets(places, min_size=1)))]
    seen = [(0, p) for p in data.draw(st.lists(places, max_size=4))]
    candidates = data.draw(st.none() | st.lists(st.booleans(), min_size=items, max_size=items))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_SORT_ABOVE", sort_above)
        first, tied = rank_targets(
            GivenScores(scores.float()),
            block_of(1, pairs_of(seen)),
            pairs_of(targets),
            chunk_items=3,
            candidates_N=None if candidates is None else torch.tensor(candidates),
        )
    flags = np.ones(len(targets), bool)
    user_P = np.zeros(len(targets), np.int64)
    ranks = TargetRanks(np.arange(1), user_P, first.numpy(), tied.numpy(), flags, flags, ~flags)
    values = user_metrics(ranks, [k])
    left = left_of(scores, 0, targets, seen, candidates)
    expected = over_all_orders(left, [p for _, p in targets], k)
    assert (values[f"recall@{k}"][0], values[f"ndcg@{k}"][0]) == pytest.approx(expected)


def test_ranks_are_those_of_scipy() -> None:
    random = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 40, (20, 300), generator=random).float()
    places = torch.randint(0, 300, (20,), generator=random)
    first, tied = rank_targets(
        GivenScores(scores), block_of(20), UserItemPairs(torch.arange(20), places), chunk_items=77
    )
    expected = rankdata(-scores.numpy(), method="average", axis=1)[np.arange(20), places.numpy()]
    assert np.array_equal(first.numpy() + (tied.numpy() - 1) / 2, expected)


def test_a_product_of_vectors_ranks_as_its_own_scores_do() -> None:
    """Random float32 vectors, half of the items with the vector of another: only equal scores tie."""
    random = torch.Generator().manual_seed(2)
    users, items = torch.randn(40, 16, generator=random), torch.randn(500, 16, generator=random)
    items[250:] = items[:250]

    class Product(GivenScores):
        def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
            return users_BS @ items[start:stop].T

    places = torch.randint(0, 500, (40,), generator=random)
    targets = UserItemPairs(torch.arange(40), places)
    scorer = Product(torch.zeros(40, 500))
    for chunk in (500, 128):
        edges = range(0, 500, chunk)
        scores = torch.cat([users @ items[e : e + chunk].T for e in edges], dim=1)
        first, tied = rank_targets(
            scorer, UserBlock(users, list(range(40))), targets, chunk_items=chunk
        )
        for user, place in enumerate(places.tolist()):
            plain = dict(enumerate(scores[user].tolist()))
            assert (first[user], tied[user]) == shared_ranks(plain, place)


def test_one_score_for_all_is_one_tie() -> None:
    first, tied = rank_targets(
        GivenScores(torch.full((3, 101), 0.25)),
        block_of(3),
        pairs_of([(0, 0), (1, 50), (2, 100)]),
        chunk_items=10,
    )
    assert first.tolist() == [1.0] * 3
    assert tied.tolist() == [101] * 3


def test_seen_items_leave_the_ranking_unless_they_are_targets() -> None:
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
    seen = pairs_of([(0, 0), (0, 1), (0, 3), (0, NO_ROW)])
    targets = pairs_of([(0, 1), (0, 4)])
    ranks, _ = rank_targets(GivenScores(scores), block_of(1, seen), targets, chunk_items=2)
    assert ranks.tolist() == [1.0, 3.0]


def test_a_target_without_a_row_keeps_no_seen_item_in() -> None:
    """Not even the last item for the user before."""
    seen, targets = pairs_of([(0, 1)]), pairs_of([(0, 0), (1, NO_ROW)])
    ranks, _ = rank_targets(
        GivenScores(torch.zeros(2, 2)), block_of(2, seen), targets, chunk_items=2
    )
    assert ranks.tolist() == [1.0, float("inf")]


def test_no_chunk_is_larger_than_asked_for() -> None:
    scorer = GivenScores(torch.rand(2, 23))
    rank_targets(scorer, block_of(2), pairs_of([(0, 22), (1, 0)]), chunk_items=10)
    assert set(scorer.asked) == {(0, 10), (10, 20), (20, 23)}


def test_a_single_chunk_is_scored_once() -> None:
    scorer = GivenScores(torch.rand(2, 23))
    rank_targets(scorer, block_of(2), pairs_of([(0, 22), (1, 0)]), chunk_items=23)
    assert scorer.asked == [(0, 23)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_stops_with_the_user(bad: float) -> None:
    scores = torch.rand(3, 9)
    scores[1, 4] = bad
    block = UserBlock(torch.arange(3.0)[:, None], ["ann", "bob", "cid"])
    with pytest.raises(RunError, match=r"for 1 of 3 users, such as \['bob'\]"):
        rank_targets(GivenScores(scores), block, pairs_of([(0, 0), (1, 4)]), chunk_items=4)


def test_targets_without_a_row_only() -> None:
    ranks, tied = rank_targets(
        GivenScores(torch.rand(1, 3)), block_of(1), pairs_of([(0, NO_ROW)]), chunk_items=2
    )
    assert ranks.tolist() == [float("inf")]
    assert tied.tolist() == [1]


def test_places_of_items() -> None:
    places = CataloguePositions(torch.tensor([3, 4, 7]))
    assert places.of(torch.tensor([0, 1, 3, 4, 5, 7, 8, 100])).tolist() == [
        *(NO_ROW, NO_ROW, 0, 1, NO_ROW, 2, NO_ROW, NO_ROW)
    ]
    assert (
        CataloguePositions(torch.zeros(0, dtype=torch.int64)).of(torch.tensor([0, 5])).tolist()
        == [NO_ROW] * 2
    )
