"""From a run's folder: what `heterrec-model evaluate` prints."""

from pathlib import Path
from typing import Any

import pytest

import heterrec_model.evaluation.evaluate as evaluation
from heterrec_model.config import Config
from heterrec_model.data.token_table import configured_table
from heterrec_model.evaluation.compare import compare_models
from heterrec_model.evaluation.intervals import compare
from heterrec_model.registry import build_model
from heterrec_model.training.train import train
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, GenerationError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_target: Generation) -> Path:
    """A model after three steps."""
    return trained(one_target, tmp_path_factory.mktemp("runs") / "run")


def trained(generation: Generation, folder: Path) -> Path:
    config = Config.model_validate(
        {
            "model": {
                "width": 8,
                "token_blocks": 1,
                "item_blocks": 1,
                "embedding_width": 8,
                "max_length": 4,
            },
            "negatives": {"in_batch": 16, "uniform": 16, "token": 16},
            "train": {"max_steps": 3, "threads": 1, "tensorboard": False, "device": "cpu"},
            "evaluation": {"ks": [5, 10], "batch_users": 8},
        }
    )
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"metric": "ndcg@5"})}
    )
    train(config, data=generation.root, run=folder, quiet=True)
    return folder


def test_a_run_is_evaluated_as_its_config_says(one_target: Generation, run: Path) -> None:
    found = evaluation.evaluate(run, one_target, "validation")
    assert found["checkpoint"] == (run / "checkpoints" / "best").resolve().name
    assert found["generation"] == one_target.manifest.generation
    assert found["model"] == "heterrec"
    assert list(found["metrics"]) == ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]
    assert found["seen_filtered"] is False
    # by its path too
    other = evaluation.evaluate(run, one_target.root, "validation", checkpoint=found["checkpoint"])
    assert other["metrics"] == found["metrics"]
    last = evaluation.evaluate(run, one_target, "validation", checkpoint="last")
    assert last["checkpoint"] == "step-00000003"


def test_settings_of_the_call(one_target: Generation, run: Path) -> None:
    found = evaluation.evaluate(run, one_target, filter_seen=True, ks=[3], max_users=5)
    assert found["split"] == "test"
    assert found["seen_filtered"] is True
    assert list(found["metrics"]) == ["recall@3", "ndcg@3"]
    assert found["users"] == 5


def test_a_run_is_compared_with_a_baseline(one_target: Generation, run: Path) -> None:
    ours = evaluation.evaluate_run(run, one_target)
    config = Config.model_validate({"evaluation": {"ks": [5, 10]}})
    base = evaluation.evaluate_baseline(one_target, "popular", config=config)
    found = compare(base, ours, resamples=100)
    assert [c.metric for c in found] == list(ours.metrics)
    assert [c.candidate for c in found] == pytest.approx(list(ours.metrics.values()))


def test_every_table_of_a_temporal_split_has_unseen_first(
    many_targets: Generation, tmp_path: Path
) -> None:
    """With the settings of the call; and none under leave one out."""
    run = trained(many_targets, tmp_path / "run")
    settings: dict[str, Any] = {"filter_seen": True, "ks": [3], "candidates": "all", "max_users": 9}
    for options in ({}, settings):
        found = evaluation.evaluate(run, many_targets, **options)
        other = found.pop("unseen_first")
        assert other["model"] == "unseen-first"
        for name in ("users", "candidates", "candidate_set", "seen_filtered", "targets"):
            assert other[name] == found[name]
        assert list(other["metrics"]) == list(found["metrics"])
        assert found["candidate_set"] == options.get("candidates", "known")
    for others in (["popular"], ["unseen-first", "popular"]):
        report = compare_models(str(run), many_targets, others, resamples=10)
        assert {m.name for m in report.others} == {"popular", "unseen-first"}
        assert len(report.comparisons) == 2
    with pytest.raises(CallError, match="candidates: got 'som'"):
        compare_models(str(run), many_targets, ["popular"], candidates="som")
    one, two = (evaluation.evaluate_run(run, many_targets, candidates=c) for c in ("all", "known"))
    with pytest.raises(CallError, match="evaluations of different candidate_set"):
        compare(one, two)


def test_leave_one_out_needs_no_unseen_first(one_target: Generation, run: Path) -> None:
    assert evaluation.evaluate(run, one_target)["unseen_first"] is None
    report = compare_models(str(run), one_target, ["popular"], resamples=10)
    assert [m.name for m in report.others] == ["popular"]


def test_mistakes(one_target: Generation, many_targets: Generation, run: Path) -> None:
    with pytest.raises(CallError, match="Did you mean 'validation'"):
        evaluation.evaluate(run, one_target, "validaton")
    with pytest.raises(CallError, match="no checkpoint 'beste'"):
        evaluation.evaluate(run, one_target, checkpoint="beste")
    with pytest.raises(GenerationError):
        evaluation.evaluate(run, many_targets)


def test_an_evaluation_states_which_inputs_the_model_lacks(
    one_target: Generation, run: Path
) -> None:
    entries = one_target.manifest.features
    features = [e.name for e in entries if e.side == "item"]
    sides = ["item features", *["user features"] * any(e.side == "user" for e in entries)]
    rest = [*sides, "behaviours", "time gaps"]
    popular = evaluation.evaluate_baseline(one_target, "popular")
    assert list(popular.lacks) == ["last items", "earlier items", *rest]
    neighbours = evaluation.evaluate_baseline(one_target, "neighbours")
    assert list(neighbours.lacks) == ["earlier items", *rest]
    assert popular.to_json()["lacks"] == list(popular.lacks)

    def lacks(**model: Any) -> list[str]:
        settings = {"width": 4, "heads": 1, "token_blocks": 0, "item_blocks": 1, **model}
        config = Config.model_validate({"model": settings})
        made = build_model(config, configured_table(config, one_target), one_target)
        return list(evaluation.evaluate_model(made, one_target, "test", config, max_users=3).lacks)

    assert lacks() == lacks(name="sasrec_time") == []
    assert lacks(name="sasrec") == ["time gaps"]
    assert lacks(features=(), behaviour=False) == ["item features", "behaviours"]
    assert lacks(features=features[1:], item_id=False) == [
        "item ids",
        f"item features {features[0]}",
    ]
