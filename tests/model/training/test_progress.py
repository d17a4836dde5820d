"""Where a run stands."""

import json
from dataclasses import asdict

from heterrec_model.training.progress import Progress


def test_only_a_better_metric_is_best() -> None:
    progress = Progress()
    values = [0.1, 0.2, 0.2, 0.15, 0.3]
    better = []
    for step, value in enumerate(values):
        progress.step = step
        better.append(progress.note_validation({"m": value}, "m"))
    assert better == [True, True, False, False, True]
    assert (progress.best, progress.best_step, progress.bad_validations) == (0.3, 4, 0)
    assert progress.best_metrics == {"m": 0.3}


def test_bad_validations_are_counted_in_a_row() -> None:
    progress = Progress()
    for value in (0.3, 0.2, 0.1):
        progress.note_validation({"m": value}, "m")
    assert progress.bad_validations == 2


def test_without_anybody_to_validate_on_the_newest_is_best() -> None:
    progress = Progress()
    for step in (5, 9):
        progress.step = step
        assert progress.note_validation({}, None)
    assert (progress.best, progress.best_step) == (None, 9)


def test_json_holds_it() -> None:
    progress = Progress(step=3, terms=["a"], best=0.1, best_metrics={"m": 0.1})
    assert Progress(**json.loads(json.dumps(asdict(progress)))) == progress
