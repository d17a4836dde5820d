"""Tuning: equal budgets, the validation split alone, and going on after a kill."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_run_study import in_fork, wait_for

pytest.importorskip("optuna")

from heterrec_model.config import load_config
from heterrec_model.studies.search import SearchResult
from heterrec_model.studies.study_file import Space, Study
from heterrec_model.studies.trials import Trial, proposed_settings, read_trials, write_trials
from heterrec_model.studies.tuning import tune
from heterrec_schemas.errors import CallError

MakeStudy = Callable[..., Study]
SPACE: dict[str, Any] = {
    "model.dropout": {"low": 0.0, "high": 0.5},
    "loss.token_weight": [0.0, 0.5, 1.0],
}


def search(study: Study, folder: Path, **options: Any) -> list[SearchResult]:
    found, stopped = tune(
        study, runs=folder / "runs", results=folder / "results", quiet=True, **options
    )
    assert stopped is None
    return found


@pytest.mark.usefixtures("forked")
def test_a_killed_search_goes_on(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(
        set={**make_study().set, "train.epochs": 1}, tune={"trials": 2, "space": SPACE}
    )
    pid = in_fork(lambda: search(study, tmp_path))
    file = tmp_path / "results/tiny/tuning/shop/whole.csv"
    wait_for(file, "running")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    plain, whole = search(study, tmp_path, processes=2)
    for result, settings in ((plain, ["model.dropout"]), (whole, sorted(SPACE))):
        assert result.trials == 2
        assert result.best is not None
        assert sorted(result.best.settings) == settings
        config = load_config(result.settings)
        assert config.model.dropout == result.best.settings["model.dropout"]
        assert config.train.refit_epochs == 0
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["trial"], row["state"]) for row in rows] == [
        (str(n), "complete") for n in range(2)
    ]
    assert rows[0]["set model.dropout"] == "0.4"  # that of the study comes first
    assert max(float(row["value"]) for row in rows) == whole.best.value  # type: ignore[union-attr]
    text = file.read_bytes()
    search(study, tmp_path)
    assert file.read_bytes() == text
    tune_wider = {"trials": 2, "space": {**SPACE, "model.heads": [1, 2]}}
    wider = make_study(set=study.set, tune=tune_wider)
    with pytest.raises(CallError, match="trials of another search"):
        search(wider, tmp_path)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"set": {"train.refit_epochs": 2}}, "cannot have train.refit_epochs"),
        ({"tune": {}}, "tune.space has no setting"),
        ({"tune": {"space": {"model.dropuot": [0.1]}}}, "Did you mean 'dropout'"),
        ({"tune": {"space": {"model.dropout": {"low": 0.5, "high": 2}}}}, "less than 1"),
    ],
)
def test_mistakes_are_refused(
    parts: dict[str, Any], words: str, tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(**{"tune": {"space": SPACE}, **parts})
    with pytest.raises(CallError, match=words):
        search(study, tmp_path)
    assert not (tmp_path / "results").exists()


def test_the_sampler_learns_from_the_rows(tmp_path: Path) -> None:
    space = {"x": Space(low=0.0, high=1.0), "n": Space(low=1, high=9), "c": ["a", [1.0, 0.3]]}
    trials: list[Trial] = []
    for number in range(30):
        settings = proposed_settings(space, trials, number, seed=3)
        write_trials(tmp_path / "t.csv", "i", trials)
        assert read_trials(tmp_path / "t.csv", "i") == trials
        assert proposed_settings(space, read_trials(tmp_path / "t.csv", "i"), number, 3) == settings
        value = 1 - (settings["x"] - 0.7) ** 2
        result = dict.fromkeys(("best_step", "steps", "train_seconds", "train_cpu_seconds"), "")
        result |= {"value": json.dumps(value), "commit": "", "message": ""}
        trials.append(Trial(number, settings, "complete", result))
    early, late = ([abs(t.settings["x"] - 0.7) for t in some] for some in (trials[:8], trials[20:]))
    assert sum(late) / len(late) < 0.5 * sum(early) / len(early)
    assert all(isinstance(t.settings["n"], int) for t in trials)
    (tmp_path / "t.csv").write_text("search,trial\n1\n")
    with pytest.raises(CallError, match="has not the trials of a search"):
        read_trials(tmp_path / "t.csv", "i")
