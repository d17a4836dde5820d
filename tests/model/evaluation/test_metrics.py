import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_metrics import MANY, Ranks, averages

from heterrec_model.evaluation.metrics import (
    TargetRanks,
    check_bound,
    mean_metrics,
    metric_names,
    user_metrics,
)
from heterrec_schemas.errors import CallError

KS = (1, 3, 10)
RANKS = st.tuples(st.integers(1, 20), st.integers(1, 15)) | st.just((math.inf, 1))


def target_ranks(
    users: Sequence[Sequence[float | Ranks]],
    warm: list[bool] | None = None,
    had: list[bool] | None = None,
) -> TargetRanks:
    """Ranks, or pairs of the first rank and the number of tied items."""
    user_P = np.repeat(np.arange(len(users)), [len(ranks) for ranks in users])
    flat = [r if isinstance(r, tuple) else (r, 1) for ranks in users for r in ranks]
    first_P, tied_P = (np.array([r[n] for r in flat]) for n in (0, 1))
    warm_P = np.ones(len(flat), bool) if warm is None else np.array(warm, bool)
    ids = np.array([f"u{n}" for n in range(len(users))])
    row_P = np.ones(len(flat), bool)
    had_P = np.zeros(len(flat), bool) if had is None else np.array(had, bool)
    return TargetRanks(ids, user_P, first_P.astype(np.float64), tied_P, warm_P, row_P, had_P)


@MANY
@given(st.lists(st.lists(RANKS, min_size=1, max_size=6), min_size=1, max_size=8))
def test_metrics_are_those_worked_out_plainly(users: list[list[Ranks]]) -> None:
    found = mean_metrics(target_ranks(users), KS)
    assert found == pytest.approx(averages(users, KS), abs=1e-12)
    assert list(found) == metric_names(KS)


def test_one_user_by_hand() -> None:
    """Targets at 1, at 2 or 3, and at 7, of which 3 is the ideal: at 3 two are found."""
    values = user_metrics(target_ranks([[1, (2, 2), 7]]), [1, 3])
    assert values["recall@1"].tolist() == [1 / 3]
    assert values["ndcg@1"].tolist() == [1.0]
    assert values["recall@3"].tolist() == [2 / 3]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert values["ndcg@3"] == pytest.approx((1 + (1 / math.log2(3) + 1 / 2) / 2) / ideal)


def test_a_rank_of_k_is_a_hit_and_a_tie_across_k_a_part_of_one() -> None:
    values = user_metrics(target_ranks([[3], [4], [(3, 2)], [(2, 100)]]), [3])
    assert values["recall@3"].tolist() == [1.0, 0.0, 0.5, 0.02]


def test_a_large_tie_counts_by_its_share() -> None:
    """Not all or nothing: half of 400 tied items are within 200 places."""
    values = user_metrics(target_ranks([[(1, 400)]]), [200])
    assert values["recall@200"].tolist() == [0.5]
    gains = sum(1 / math.log2(rank + 1) for rank in range(1, 201))
    assert values["ndcg@200"] == pytest.approx(gains / 400)


def test_targets_that_are_no_candidates_are_misses_and_in_no_part() -> None:
    ranks = target_ranks([[1, math.inf], [math.inf]], warm=[True, False, False])
    assert mean_metrics(ranks, [1])["recall@1"] == 0.25
    assert ranks.part("warm").users == 1
    assert ranks.part("cold").users == 0


def test_parts_keep_the_users_who_have_targets_there() -> None:
    ranks = target_ranks([[1, 20], [2], [30]], warm=[True, False, True, False])
    warm, cold = ranks.part("warm"), ranks.part("cold")
    assert warm.user_ids.tolist() == ["u0", "u1"]
    assert user_metrics(warm, [1])["recall@1"].tolist() == [1.0, 0.0]
    assert cold.user_ids.tolist() == ["u0", "u2"]
    assert cold.user_P.tolist() == [0, 1]
    assert user_metrics(cold, [20])["recall@20"].tolist() == [1.0, 0.0]
    with pytest.raises(CallError, match="Did you mean 'warm'"):
        ranks.part("wram")  # type: ignore[arg-type]


def test_without_users_there_are_no_means() -> None:
    ranks = target_ranks([[1]], warm=[True])
    assert mean_metrics(ranks.part("cold"), [5]) == {"recall@5": None, "ndcg@5": None}


@MANY
@given(
    st.lists(RANKS, min_size=1, max_size=30), st.sets(st.integers(1, 25), min_size=2, max_size=4)
)
def test_the_bound_for_one_target_holds(ranks: list[Ranks], ks: set[int]) -> None:
    mean_metrics(target_ranks([[rank] for rank in ranks]), sorted(ks))


@MANY
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_for_whole_ranks_the_bound_is_that_of_the_next_rank(
    ranks: list[int], a: int, more: int
) -> None:
    b = a + more
    found = averages([[(rank, 1)] for rank in ranks], [a, b])
    gained = found[f"ndcg@{b}"] - found[f"ndcg@{a}"]
    hit = found[f"recall@{b}"] - found[f"recall@{a}"]
    assert gained <= hit / math.log2(a + 2) + 1e-12


def test_metrics_above_their_bound_are_refused() -> None:
    wrong = {"recall@1": 0.1, "ndcg@1": 0.1, "recall@10": 0.2, "ndcg@10": 0.19}
    with pytest.raises(AssertionError, match=r"nDCG@10 - nDCG@1 .* exceeds its bound"):
        check_bound(target_ranks([[2], [3]]), wrong, [1, 10])
    # Several targets a user have no such bound.
    check_bound(target_ranks([[2, 3]]), wrong, [1, 10])
