"""The trials of a search: rows of a CSV file, and the sampler (Optuna's TPE) that proposes the settings of the next one.

The sampler is built anew from the rows for every proposal, with a seed that depends on the number of the trial. A search
therefore goes on after any interruption, also on another machine, and no database or lock of Optuna's is needed.
"""

import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heterrec_model.runs.atomic_files import write_text, writing
from heterrec_model.studies.study_file import Space
from heterrec_schemas.errors import CallError
from heterrec_schemas.stores.disk import make_folder

Ranges = Mapping[str, Space | list[Any]]
"""Ranges or lists of values by setting."""
RESULT = ("value", "best_step", "steps", "train_seconds", "train_cpu_seconds", "commit", "message")
_HEAD = ("search", "trial", "state", *RESULT)
_SETTING = "set "
"""Begins the names of the columns of settings."""
FIRST_RANDOM = 8
"""Number of trials with random settings before the sampler learns from their values."""


@dataclass
class Trial:
    """A trial.

    Attributes:
        number: from 0.
        settings: values by setting.
        state: running, complete or failed.
        result: texts by `RESULT`.
    """

    number: int
    settings: dict[str, Any]
    state: str = "running"
    result: dict[str, str] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The best validation metric; None unless the trial is complete."""
        text = self.result.get("value")
        return float(text) if self.state == "complete" and text else None


def read_trials(path: Path, identity: str) -> list[Trial]:
    """The trials of a search; none if the file does not exist.

    Args:
        path: the CSV file.
        identity: digest of all that must not change during a search.

    Raises:
        CallError: the file is damaged, or has the trials of another search.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        trials = [
            Trial(
                int(row["trial"]),
                {
                    n.removeprefix(_SETTING): json.loads(v)
                    for n, v in row.items()
                    if n.startswith(_SETTING)
                },
                row["state"],
                {name: row[name] for name in RESULT},
            )
            for row in rows
        ]
        other = [row["search"] for row in rows if row["search"] != identity]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CallError(
            f"{path} has not the trials of a search", todo="Restore or delete it."
        ) from None
    if other:
        raise CallError(
            f"{path} has the trials of another search: its settings, space, metric or data have changed",
            got=other[0],
            expected=identity,
            todo="Undo the change, or begin anew with --again, which deletes these trials.",
        )
    return trials


def write_trials(path: Path, identity: str, trials: Sequence[Trial]) -> None:
    """Replace the file of the trials.

    Raises:
        RunError: it cannot be written.
    """
    names = sorted({name for trial in trials for name in trial.settings})
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_HEAD, *(_SETTING + name for name in names)])
    for trial in sorted(trials, key=lambda trial: trial.number):
        result = [trial.result.get(name, "") for name in RESULT]
        settings = [json.dumps(trial.settings.get(name)) for name in names]
        writer.writerow([identity, trial.number, trial.state, *result, *settings])
    with writing(path):
        make_folder(path.parent)
    write_text(path, out.getvalue())


def proposed_settings(
    space: Ranges, trials: Sequence[Trial], number: int, seed: int
) -> dict[str, Any]:
    """The settings of the next trial, by TPE (Bergstra et al. 2011) from the trials so far.

    Args:
        space: ranges or lists of values by setting.
        trials: complete, failed and running ones.
        number: of the next trial.
        seed: of the search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(values) for name, values in space.items()}
    sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=FIRST_RANDOM)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    states = {
        "complete": optuna.trial.TrialState.COMPLETE,
        "failed": optuna.trial.TrialState.FAIL,
        "running": optuna.trial.TrialState.RUNNING,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in trials:
            params = {
                name: value if isinstance(space[name], Space) else json.dumps(value)
                for name, value in trial.settings.items()
            }
            study.add_trial(
                optuna.trial.create_trial(
                    state=states[trial.state],
                    value=trial.value,
                    params=params,
                    distributions=distributions,
                )
            )
        found = study.ask(distributions).params
    return {
        name: _rounded(value) if isinstance(space[name], Space) else json.loads(value)
        for name, value in found.items()
    }


def _rounded(value: float | int) -> float | int:
    """A number with four significant digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _distribution(values: Space | list[Any]) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(values, Space):
        return CategoricalDistribution([json.dumps(value) for value in values])
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)
