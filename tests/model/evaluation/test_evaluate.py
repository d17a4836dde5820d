import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from reference_metrics import OddScores, averages, ranks_of, rows_of

from heterrec_model.config import Config
from heterrec_model.data.token_table import open_token_table
from heterrec_model.evaluation.evaluate import (
    evaluate_baseline,
    evaluate_model,
    evaluate_scorer,
    with_settings,
)
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.registry import build_model
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, RunError

KS = (1, 5, 20)


def config_of(**evaluation: Any) -> Config:
    return Config.model_validate(
        {
            "model": {"max_length": 3, "width": 8, "embedding_width": 8, "token_blocks": 1},
            "evaluation": {"ks": KS, **evaluation},
        }
    )


def scored(generation: Generation, split: str = "test", **evaluation: Any) -> Evaluation:
    scorer = OddScores(open_token_table(generation, features=(), user_features=()))
    return evaluate_scorer(scorer, generation, split, config_of(**evaluation), name="odd")


def plainly(
    generation: Generation, split: str, filter_seen: bool
) -> dict[str | int, dict[int, float]]:
    """Every user's targets and their ranks, from the rows as they stand in the shards."""
    table = open_token_table(generation, features=(), user_features=())
    scorer = OddScores(table)
    found = {}
    for row in rows_of(generation, split):
        seen = row["item_index"]
        scores = {
            i: scorer.score(min(len(seen), 3), seen[-1], i) for i in table.catalogue_N.tolist()
        }
        targets = set(row["target_item_index"])
        found[row["user_id"]] = ranks_of(scores, targets, seen if filter_seen else ())
    return found


def test_the_generation_has_what_the_tests_are_about(many_targets: Generation) -> None:
    rows = rows_of(many_targets, "test")
    assert any(len(set(r["target_item_index"])) < len(r["target_item_index"]) for r in rows)
    assert any(set(r["target_item_index"]) & set(r["item_index"]) for r in rows)
    assert any(len(r["item_index"]) > 3 for r in rows)
    assert any(min(r["item_index"]) < many_targets.spec.first_item_index for r in rows)


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("batch_users", [3, 256])
@pytest.mark.parametrize("chunk_items", [11, 65536])
def test_an_evaluation_is_the_one_worked_out_plainly(
    many_targets: Generation, split: str, filter_seen: bool, batch_users: int, chunk_items: int
) -> None:
    """Targets twice in a row count once; all of a row's history is seen, though a model sees three items of it."""
    found = scored(
        many_targets,
        split,
        filter_seen=filter_seen,
        batch_users=batch_users,
        chunk_items=chunk_items,
    )
    expected = plainly(many_targets, split, filter_seen)
    ranks = found.per_user
    assert sorted(ranks.user_ids.tolist()) == sorted(expected)
    for row, user in enumerate(ranks.user_ids.tolist()):
        assert sorted(ranks.rank_P[ranks.user_P == row]) == sorted(expected[user].values())
    users = [list(expected[user].values()) for user in expected]
    assert found.metrics == pytest.approx(averages(users, KS))


def test_warm_and_cold_targets_apart(many_targets: Generation) -> None:
    found = scored(many_targets).to_json()
    expected = plainly(many_targets, "test", False)
    counts = {c["item_index"]: c["train_count"] for c in many_targets.item_counts().to_pylist()}
    for part, cold in (("warm", False), ("cold", True)):
        users = [
            [rank for item, rank in ranks.items() if (item not in counts) == cold]
            for ranks in expected.values()
        ]
        users = [ranks for ranks in users if ranks]
        assert users, "the test's generation has both"
        assert found[part]["users"] == len(users)
        assert found[part]["targets"] == sum(map(len, users))
        metrics = {name: found[part][name] for name in found["metrics"]}
        assert metrics == pytest.approx(averages(users, KS))


def test_the_json(one_target: Generation) -> None:
    found = scored(one_target, filter_seen=True)
    body = json.loads(json.dumps(found.to_json(), allow_nan=False))
    rows = rows_of(one_target, "test")
    assert list(body) == [
        *("model", "split", "users", "catalogue", "metrics", "warm", "cold", "targets_per_user"),
        *("targets", "targets_without_row", "targets_tied", "seen_filtered", "checkpoint"),
        *("generation", "seconds", "lacks"),
    ]
    assert body["users"] == body["targets"] == len(rows)
    assert body["catalogue"] == one_target.manifest.counts.items.kept
    assert body["targets_per_user"] == 1.0
    assert body["generation"] == one_target.manifest.generation
    assert body["seen_filtered"] is True
    assert body["checkpoint"] is None
    assert list(body["metrics"]) == [f"{n}@{k}" for k in KS for n in ("recall", "ndcg")]
    assert list(body["warm"]) == [*body["metrics"], "users", "targets"]


def test_a_target_without_a_row_is_a_miss_and_counted(
    one_target: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(one_target)
    table = open_token_table(one_target, features=(), user_features=())
    gone = rows_of(one_target, "test")[0]["target_item_index"][0]
    kept = table.catalogue_N[table.catalogue_N != gone]
    object.__setattr__(table, "catalogue_N", kept)
    found = evaluate_scorer(OddScores(table), one_target, "test", config_of(), name="odd")
    rows = rows_of(one_target, "test")
    without = sum(gone in row["target_item_index"] for row in rows)
    assert found.to_json()["targets_without_row"] == without >= 1
    assert found.per_user.users == whole.per_user.users
    assert np.isinf(found.per_user.rank_P).sum() == without


def test_the_model_sees_the_same_whether_seen_items_are_filtered_or_not(
    one_target: Generation,
) -> None:
    table = open_token_table(one_target, features=(), user_features=())
    for filter_seen in (False, True):
        scorer = OddScores(table)
        evaluate_scorer(scorer, one_target, "test", config_of(filter_seen=filter_seen), name="odd")
        assert max(scorer.widths) == 3


def test_the_first_users_and_progress(one_target: Generation) -> None:
    done: list[int] = []
    scorer = OddScores(open_token_table(one_target, features=(), user_features=()))
    found = evaluate_scorer(
        scorer,
        one_target,
        "test",
        config_of(batch_users=4),
        name="odd",
        max_users=9,
        on_progress=done.append,
    )
    assert found.per_user.users == done[-1] == 9
    assert done == sorted(done)
    assert all(b - a <= 4 for a, b in zip([0, *done], done, strict=False))


def test_no_user_at_all(one_target: Generation) -> None:
    scorer = OddScores(open_token_table(one_target, features=(), user_features=()))
    found = evaluate_scorer(scorer, one_target, "test", config_of(), name="odd", max_users=0)
    body = found.to_json()
    assert body["users"] == 0
    assert set(body["metrics"].values()) == {None}
    assert body["targets_per_user"] is None


@pytest.fixture(scope="module")
def model(one_target: Generation) -> TwoTowerModel:
    config = config_of()
    return build_model(config, open_token_table(one_target), one_target)


def test_a_model_is_ranked_by_its_vectors(one_target: Generation, model: TwoTowerModel) -> None:
    """Against all scores at once, ranked plainly; and it is left as it was found."""
    model.train()
    found = evaluate_model(model, one_target, "test", config_of(), checkpoint="step-00000007")
    assert model.training
    assert found.checkpoint == "step-00000007"
    model.eval()
    scorer = VectorScorer(model)
    from heterrec_model.data.inference_batches import split_batches

    ranks = {}
    for batch in split_batches(one_target, "test", config_of()):
        scores = scorer.scores(scorer.encode(batch), 0, len(model.table.catalogue_N))
        own = model.user_vectors(batch) @ model.item_vectors(model.table.catalogue_N).T
        assert torch.allclose(scores, own, atol=1e-6)
        for row, user in enumerate(batch.user_ids):
            by_item = dict(zip(model.table.catalogue_N.tolist(), scores[row].tolist(), strict=True))
            assert batch.targets is not None
            ranks[user] = ranks_of(by_item, batch.targets[row].tolist())
    expected = averages([list(of_user.values()) for of_user in ranks.values()], KS)
    assert found.metrics == pytest.approx(expected, abs=0.02)


def test_evaluating_twice_gives_the_same(one_target: Generation, model: TwoTowerModel) -> None:
    one, two = (evaluate_model(model, one_target, "validation", config_of()) for _ in range(2))
    assert one.metrics == two.metrics
    assert np.array_equal(one.per_user.rank_P, two.per_user.rank_P)


def test_vectors_that_are_not_finite_are_refused(one_target: Generation) -> None:
    table = open_token_table(one_target)
    broken = build_model(config_of(), table, one_target)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(RunError, match="item vectors are not finite"):
        evaluate_model(broken, one_target, "test", config_of())


def test_mistakes_in_the_call(one_target: Generation, model: TwoTowerModel) -> None:
    for split, words in (
        ("tset", "Did you mean 'test'"),
        ("train", "no split 'train' with targets"),
    ):
        with pytest.raises(CallError, match=words):
            evaluate_model(model, one_target, split, config_of())
    with pytest.raises(CallError, match="Did you mean 'popular'"):
        evaluate_baseline(one_target, "popluar")
    for ks in ([], [0, 3]):
        with pytest.raises(CallError, match="ks"):
            with_settings(config_of(), None, ks)


def test_settings_of_a_call_go_before_the_runs() -> None:
    config = config_of(filter_seen=True)
    assert with_settings(config, None, None) == config
    changed = with_settings(config, False, [3, 3, 9]).evaluation
    assert (changed.filter_seen, changed.ks) == (False, (3, 9))
    assert changed.batch_users == config.evaluation.batch_users


def names(users: Sequence[str | int]) -> list[str]:
    return [str(user) for user in users]


def test_baselines_rank_the_same_users(one_target: Generation) -> None:
    by = {
        name: evaluate_baseline(one_target, name, config=config_of())
        for name in ("popular", "neighbours")
    }
    users = [sorted(names(found.per_user.user_ids.tolist())) for found in by.values()]
    assert users[0] == users[1] == sorted(str(r["user_id"]) for r in rows_of(one_target, "test"))
    assert [found.name for found in by.values()] == ["popular", "neighbours"]
