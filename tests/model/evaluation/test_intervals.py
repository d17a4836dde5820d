import math

import numpy as np
import pytest

from heterrec_model.evaluation import intervals
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.intervals import compare
from heterrec_model.evaluation.metrics import TargetRanks
from heterrec_schemas.errors import CallError


def evaluation(ranks: np.ndarray, *, name: str = "a", **changes: object) -> Evaluation:
    """One target a user; the even ones are warm."""
    users = len(ranks)
    ids = changes.pop("ids", np.arange(users))
    per_user = TargetRanks(
        np.asarray(ids),
        np.arange(users),
        ranks.astype(np.float64),
        np.asarray(changes.pop("tied", np.ones(users, np.int64))),
        np.arange(users) % 2 == 0,
        np.ones(users, bool),
        np.arange(users) % 3 == 0,
    )
    settings = {
        "split": "test",
        "catalogue": 100,
        "candidate_set": "known",
        "candidates": 90,
        "cold_candidates": 5,
        "ks": (1, 10),
        "seen_filtered": False,
        "checkpoint": None,
        "generation": "g",
        "seconds": 0.0,
    }
    return Evaluation(name=name, per_user=per_user, **{**settings, **changes})  # type: ignore[arg-type]


def random_ranks(seed: int, users: int = 300, most: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, most + 1, users)


def test_equal_results_do_not_differ() -> None:
    one = evaluation(random_ranks(0))
    for found in compare(one, one, resamples=200):
        assert found.difference == 0
        assert found.difference_interval == (0, 0)
        assert found.lift == 0
        assert found.p == 1
        assert found.users == 300


def test_it_resamples_as_a_plain_loop_does() -> None:
    a, b = random_ranks(1), random_ranks(2, most=15)
    found = compare(evaluation(a), evaluation(b), metrics=["recall@10"], resamples=500, seed=7)[0]
    x, y = (a <= 10).astype(float), (b <= 10).astype(float)
    drawn = np.random.default_rng(7).integers(0, 300, size=(500, 300))
    differences = [(y - x)[users].mean() for users in drawn]
    lifts = [y[users].mean() / x[users].mean() - 1 for users in drawn]
    assert found.difference_interval == pytest.approx(
        tuple(np.percentile(differences, [2.5, 97.5]))
    )
    assert found.lift_interval == pytest.approx(tuple(np.percentile(lifts, [2.5, 97.5])))
    other_side = min(np.sum(np.array(differences) <= 0), np.sum(np.array(differences) >= 0))
    assert found.p == pytest.approx(2 * (other_side + 1) / 501)
    assert found.difference == pytest.approx(y.mean() - x.mean())
    assert found.lift == pytest.approx(y.mean() / x.mean() - 1)


def test_the_interval_is_that_of_the_central_limit() -> None:
    a, b = random_ranks(3, users=4000), random_ranks(4, users=4000, most=18)
    found = compare(evaluation(a), evaluation(b), metrics=["recall@10"], resamples=4000)[0]
    d = (b <= 10).astype(float) - (a <= 10)
    error = d.std() / math.sqrt(len(d))
    low, high = found.difference_interval
    assert low == pytest.approx(d.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(d.mean() + 1.96 * error, abs=0.1 * error)
    assert found.p < 0.001


def test_memory_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = evaluation(random_ranks(5)), evaluation(random_ranks(6))
    whole = compare(*sides, resamples=50)
    monkeypatch.setattr(intervals, "_CELLS", 7 * 300)
    shapes = [w.shape for w in intervals._weights(300, 50, 0)]
    assert shapes == [(7, 300)] * 7 + [(1, 300)]
    for one, other in zip(whole, compare(*sides, resamples=50), strict=True):
        assert one.difference_interval == pytest.approx(other.difference_interval)


def test_users_are_paired_by_their_ids() -> None:
    a, b = random_ranks(8), random_ranks(9)
    order = np.random.default_rng(0).permutation(300)
    straight = compare(evaluation(a), evaluation(b), resamples=100)
    shuffled = compare(evaluation(a), evaluation(b[order], ids=order), resamples=100)
    assert straight[0] == shuffled[0]


def test_seeds_are_averaged_by_user() -> None:
    a, b, c = (random_ranks(seed) for seed in (10, 11, 12))
    found = compare(evaluation(a), [evaluation(b), evaluation(c)], metrics=["recall@10"])[0]
    assert found.candidate == pytest.approx(((b <= 10).mean() + (c <= 10).mean()) / 2)
    one = compare(evaluation(a), evaluation(b), metrics=["recall@10"])[0]
    assert np.ptp(found.difference_interval) < np.ptp(one.difference_interval)


def test_a_part() -> None:
    a, b = random_ranks(13), random_ranks(14)
    found = compare(evaluation(a), evaluation(b), part="warm", metrics=["ndcg@10"])[0]
    assert found.users == 150
    gains = np.where(b[::2] <= 10, 1 / np.log2(b[::2] + 1), 0)
    assert found.candidate == pytest.approx(gains.mean())


def test_no_lift_over_nothing() -> None:
    found = compare(evaluation(np.full(9, 50)), evaluation(np.ones(9)), resamples=20)[0]
    assert found.lift is None
    assert found.lift_interval is None
    assert found.difference == 1


def test_what_cannot_be_compared_is_refused() -> None:
    one = evaluation(random_ranks(0))
    for change, words in (
        ({"generation": "h"}, "different generation"),
        ({"split": "validation"}, "different split"),
        ({"seen_filtered": True}, "different seen_filtered"),
        ({"ids": np.arange(300) + 1}, "different users"),
    ):
        with pytest.raises(CallError, match=words):
            compare(one, evaluation(random_ranks(0), **change))
    with pytest.raises(CallError, match=r"Did you mean 'ndcg@10'"):
        compare(one, one, metrics=["ndgc@10"])
    with pytest.raises(CallError, match="resamples"):
        compare(one, one, resamples=0)
    with pytest.raises(CallError, match="level"):
        compare(one, one, level=95)
    with pytest.raises(CallError, match="at least one per model"):
        compare(one, [])
    few = evaluation(np.ones(1))
    with pytest.raises(CallError, match="no user with cold targets"):
        compare(few, few, part="cold")


def test_fractional_hits_are_resampled_as_values() -> None:
    """Targets in ties across k: the means are those of the expected hits."""
    ranks = random_ranks(8)
    one, two = evaluation(ranks, tied=np.full(300, 4)), evaluation(ranks)
    found = compare(two, one, metrics=["recall@10"], resamples=200)[0]
    hits = np.clip(11 - ranks, 0, 4) / 4
    assert set(hits) > {0.0, 1.0}
    assert found.candidate == pytest.approx(hits.mean())
    low, high = found.difference_interval
    assert low < found.difference < high < 0
