"""Runs whose last epochs train on the validation split too."""

import json
from pathlib import Path
from typing import Any

import pytest

from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.runs.checkpoints import read_checkpoint
from heterrec_model.training.train import train
from heterrec_schemas.errors import CallError

REFIT = {"epochs": 1, "refit_epochs": 2}


def logged(run: Path, kind: str) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in read if line["kind"] == kind]


def test_nothing_is_validated_once_the_refit_has_begun(
    tmp_path: Path, shop_data: Path, tiny: Any
) -> None:
    result = train(tiny(train=REFIT), data=shop_data, run=tmp_path / "run", quiet=True)
    assert result.epoch == 3
    assert [line["epoch"] for line in logged(result.run, "validation")] == [1]
    best, last = (read_checkpoint(result.run / "checkpoints" / name) for name in ("best", "last"))
    assert best.step == last.step == result.step
    assert result.metrics["ndcg@50"] == logged(result.run, "validation")[0]["metrics"]["ndcg@50"]
    rates = [line["learning_rate"] for line in logged(result.run, "train")]
    assert rates[-1] < 0.2 * max(rates)


def test_the_validation_split_is_no_measure_afterwards(
    tmp_path: Path, shop_data: Path, tiny: Any
) -> None:
    run = train(tiny(train=REFIT), data=shop_data, run=tmp_path / "run", quiet=True).run
    with pytest.warns(UserWarning, match="was also trained on the validation split"):
        evaluate_run(run, shop_data, "validation")
    assert evaluate_run(run, shop_data, "test").metrics["ndcg@50"] is not None


def test_a_refit_has_no_early_end(tmp_path: Path, shop_data: Path, tiny: Any) -> None:
    with pytest.raises(ValueError, match="would skip the refit_epochs"):
        tiny(train={**REFIT, "patience": 2})


def test_the_refit_cannot_be_moved_by_a_resume(tmp_path: Path, shop_data: Path, tiny: Any) -> None:
    run = train(tiny(train=REFIT), data=shop_data, run=tmp_path / "run", quiet=True).run
    with pytest.raises(CallError, match=r"train\.refit_epochs"):
        train(
            tiny(train={**REFIT, "refit_epochs": 3}),
            data=shop_data,
            run=run,
            resume=True,
            quiet=True,
        )
