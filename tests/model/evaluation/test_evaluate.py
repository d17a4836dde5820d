import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from plain_repeats import plain_term
from reference_metrics import OddScores, Ranks, averages, ranks_of, rows_of

from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
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
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError, GenerationError, RunError
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.testing import Settings, shop, small_generation

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


def known_at_the_cut(generation: Generation, split: str) -> set[int]:
    """The items with an interaction before the cut."""
    cut = generation.manifest.cuts[f"{split}_at_ms"]
    rows = generation.first_interactions().to_pylist()
    return {row["item_index"] for row in rows if row["first_ms"] < cut}


def plainly(
    generation: Generation, split: str, filter_seen: bool, *, everything: bool = False
) -> dict[str | int, dict[int, Ranks]]:
    """Every user's targets and their ranks, from the rows as they stand in the shards."""
    table = open_token_table(generation, features=(), user_features=())
    scorer = OddScores(table)
    items = table.catalogue_N.tolist()
    if not everything:
        known = known_at_the_cut(generation, split)
        items = [item for item in items if item in known]
    found = {}
    for row in rows_of(generation, split):
        seen = row["item_index"]
        scores = {i: scorer.score(min(len(seen), 3), seen[-1], i) for i in items}
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
@pytest.mark.parametrize(("chunk_items", "ranked"), [(11, "known"), (65536, "known"), (30, "all")])
def test_an_evaluation_is_the_one_worked_out_plainly(
    many_targets: Generation,
    split: str,
    filter_seen: bool,
    batch_users: int,
    chunk_items: int,
    ranked: str,
) -> None:
    """Targets twice in a row count once; all of a row's history is seen, though a model sees three items of it."""
    found = scored(
        many_targets,
        split,
        filter_seen=filter_seen,
        batch_users=batch_users,
        chunk_items=chunk_items,
        candidates=ranked,
    )
    expected = plainly(many_targets, split, filter_seen, everything=ranked == "all")
    ranks = found.per_user
    assert sorted(ranks.user_ids.tolist()) == sorted(expected)
    for row, user in enumerate(ranks.user_ids.tolist()):
        mine = ranks.user_P == row
        pairs = zip(ranks.first_P[mine].tolist(), ranks.tied_P[mine].tolist(), strict=True)
        assert sorted(pairs) == sorted(expected[user].values())
    users = [list(expected[user].values()) for user in expected]
    assert found.metrics == pytest.approx(averages(users, KS))


def test_the_candidates_are_those_known_at_the_cut(many_targets: Generation) -> None:
    """By an interaction of any user: also of one without a training row, whose items are cold candidates."""
    items = open_token_table(many_targets, features=(), user_features=()).catalogue_N.tolist()
    trained = set(many_targets.item_counts()["item_index"].to_pylist())
    for split in ("validation", "test"):
        body = scored(many_targets, split).to_json()
        known = known_at_the_cut(many_targets, split) & set(items)
        assert body["candidate_set"] == "known"
        assert body["candidates"] == len(known)
        assert body["cold_candidates"] == len(known - trained)
        targets = [set(row["target_item_index"]) for row in rows_of(many_targets, split)]
        assert body["targets_unknown"] == sum(len(of_user - known) for of_user in targets)
        whole = scored(many_targets, split, candidates="all").to_json()
        assert whole["candidate_set"] == "all"
        assert whole["candidates"] == whole["catalogue"] == len(items)
        assert whole["targets_unknown"] == 0
        # a target that is not ranked is a miss, so both are means over the same users and targets
        assert (whole["users"], whole["targets"]) == (body["users"], body["targets"])
    assert body["cold_candidates"] > 0


def test_leave_one_out_ranks_the_whole_catalogue(one_target: Generation) -> None:
    """It has no cut that holds for all users."""
    body = scored(one_target).to_json()
    assert body["candidate_set"] == "all"
    assert body["candidates"] == body["catalogue"]


@pytest.fixture(scope="module")
def with_new_items(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Temporal; a quarter of the items has interactions in the last days only."""
    goods = shop(3)
    log, item_ids = goods.interactions, goods.items["item_id"].to_pylist()
    late = int(np.quantile(log["timestamp"].to_numpy(), 0.9))
    new = pc.is_in(log["item_id"], value_set=pa.array(item_ids[::4]))
    goods = replace(
        goods, interactions=log.filter(pc.or_(pc.invert(new), pc.greater(log["timestamp"], late)))
    )
    folder = tmp_path_factory.mktemp("new")
    small_generation(folder, 3, settings=Settings(split="temporal"), goods=goods)
    return open_generation(folder)


def test_unseen_first_finds_the_future_in_the_whole_catalogue_only(
    with_new_items: Generation,
) -> None:
    known, whole = (
        evaluate_baseline(with_new_items, "unseen-first", config=Config.model_validate(settings))
        for settings in (
            {"evaluation": {"ks": KS, "candidates": ranked}} for ranked in ("known", "all")
        )
    )
    assert whole.cold_candidates > known.cold_candidates
    assert (whole.part("cold")["recall@20"] or 0) > 0.9  # without knowing anything
    assert (whole.metrics["recall@20"] or 0) > (known.metrics["recall@20"] or 0)
    unknown = known.to_json()["targets_unknown"]
    assert unknown == whole.to_json()["cold"]["targets"] - known.to_json()["cold"]["targets"] > 0
    assert known.to_json()["warm"]["targets"] == whole.to_json()["warm"]["targets"]


def test_a_generation_without_times_is_refused_unless_all_items_are_ranked(
    tmp_path: Path,
) -> None:
    """One of an earlier version."""
    root = small_generation(tmp_path, 3, settings=Settings(split="temporal"))
    manifest = Manifest.model_validate_json((root / "manifest.json").read_text())
    kept = [f for f in manifest.files if "item_times" not in f.path]
    (root / "manifest.json").write_text(manifest.model_copy(update={"files": kept}).to_json())
    old = open_generation(tmp_path)
    with pytest.raises(GenerationError, match=r"no item_times/.*Build it again, or set .*: all"):
        evaluate_baseline(old, "popular")
    found = evaluate_baseline(old, "popular", config=config_of(candidates="all"))
    assert found.candidate_set == "all"


def test_warm_and_cold_targets_apart(many_targets: Generation) -> None:
    found = scored(many_targets).to_json()
    expected = plainly(many_targets, "test", False)
    counts = {c["item_index"]: c["train_count"] for c in many_targets.item_counts().to_pylist()}
    for part, cold in (("warm", False), ("cold", True)):
        users = [
            [r for item, r in ranks.items() if (item not in counts) == cold and r[0] < math.inf]
            for ranks in expected.values()
        ]
        users = [ranks for ranks in users if ranks]
        assert users, "the test's generation has both"
        assert found[part]["users"] == len(users)
        assert found[part]["targets"] == sum(map(len, users))
        metrics = {name: found[part][name] for name in found["metrics"]}
        assert metrics == pytest.approx(averages(users, KS))


def test_repeated_and_new_targets_apart(many_targets: Generation) -> None:
    """The whole row counts as the history; the model reads three items of it."""
    found = scored(many_targets).to_json()
    expected = plainly(many_targets, "test", False)
    had = {row["user_id"]: set(row["item_index"]) for row in rows_of(many_targets, "test")}
    short = {row["user_id"]: set(row["item_index"][-3:]) for row in rows_of(many_targets, "test")}
    assert had != short
    for part, repeated in (("repeated", True), ("new", False)):
        users = [
            [r for i, r in ranks.items() if (i in had[user]) == repeated and r[0] < math.inf]
            for user, ranks in expected.items()
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
        *("model", "split", "users", "catalogue", "candidate_set", "candidates"),
        *("cold_candidates", "metrics", "warm", "cold", "repeated", "new"),
        *("targets_per_user", "targets"),
        *("targets_unknown", "targets_without_row", "targets_tied", "seen_filtered"),
        *("checkpoint", "generation", "seconds", "lacks"),
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
    assert np.isinf(found.per_user.first_P).sum() == without


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


@pytest.mark.parametrize(("filter_seen", "chunk_items"), [(False, 65536), (True, 11)])
def test_repeats_are_ranked_as_plainly(
    many_targets: Generation, filter_seen: bool, chunk_items: int
) -> None:
    """Score by score; scores that nearly tie may be in either order."""
    settings = config_of(filter_seen=filter_seen, chunk_items=chunk_items, candidates="all")
    repeats = settings.model.repeats.model_copy(update={"enabled": True, "similarity": 0.3})
    changed = {"repeats": repeats, "token_heads": True}
    settings = settings.model_copy(update={"model": settings.model.model_copy(update=changed)})
    model = build_model(settings, open_token_table(many_targets), many_targets)
    term = model.eval().repeats
    assert term is not None
    with torch.no_grad():
        for weight in [*term.parameters(), model.head_weights]:
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    found = evaluate_model(model, many_targets, "test", settings).per_user
    catalogue = model.table.catalogue_N.tolist()
    vectors_ND = model.item_vectors(model.table.catalogue_N).detach()
    rows = {row["user_id"]: row for row in rows_of(many_targets, "test")}
    user_vectors = {}
    for batch in split_batches(many_targets, "test", settings):
        user_vectors |= dict(zip(batch.user_ids, model.user_vectors(batch).detach(), strict=True))
    counts, temperature = model.table.train_count_I.tolist(), settings.loss.temperature
    for place, user in enumerate(found.user_ids.tolist()):
        row, user_D = rows[user], user_vectors[user]
        events = list(zip(row["item_index"], row["timestamp_ms"], strict=True))
        targets, own = {*row["target_item_index"]}, {*row["item_index"]}
        scores = dict(zip(catalogue, (vectors_ND @ user_D).tolist(), strict=True))
        for item in own & scores.keys():
            item_D = vectors_ND[catalogue.index(item)]
            more = plain_term(term, events, item, counts[item], user_D, item_D)
            scores[item] += temperature * more
        left = [s for i, s in scores.items() if i in targets or not filter_seen or i not in own]
        mine = found.first_P[found.user_P == place]
        for first, target in zip(mine.tolist(), sorted(targets), strict=True):
            if target not in scores:
                assert first == math.inf
                continue
            least, most = (sum(s > scores[target] + e for s in left) for e in (1e-4, -1e-4))
            assert least + 1 <= first <= most


def test_evaluating_twice_gives_the_same(one_target: Generation, model: TwoTowerModel) -> None:
    one, two = (evaluate_model(model, one_target, "validation", config_of()) for _ in range(2))
    assert one.metrics == two.metrics
    assert np.array_equal(one.per_user.first_P, two.per_user.first_P)


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
            with_settings(config_of(), None, ks, None)
    with pytest.raises(CallError, match=r"candidates: got 'some', expected one of known, all"):
        with_settings(config_of(), None, None, "some")


def test_settings_of_a_call_go_before_the_runs() -> None:
    config = config_of(filter_seen=True)
    assert with_settings(config, None, None, None) == config
    changed = with_settings(config, False, [3, 3, 9], "all").evaluation
    assert (changed.filter_seen, changed.ks) == (False, (3, 9))
    assert changed.candidates == "all"
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
