"""The search of settings for one model on one data set: its trials, and the runs of those in progress."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heterrec_model.config import Config
from heterrec_model.model_settings import flat_settings, is_read
from heterrec_model.progress_display import ProgressDisplay
from heterrec_model.runs.atomic_files import locked_folder, remove_folder, write_text
from heterrec_model.runs.run_folder import METRICS
from heterrec_model.studies.plan import settings_digest, settings_of
from heterrec_model.studies.pool import WorkerPool
from heterrec_model.studies.provenance import code_commit
from heterrec_model.studies.run_logs import last_lines
from heterrec_model.studies.states import ended_by
from heterrec_model.studies.study_file import Space, Study
from heterrec_model.studies.trials import Trial, proposed_settings, read_trials, write_trials
from heterrec_model.studies.worker import Task
from heterrec_model.training.check_config import check_for_generation, check_settings
from heterrec_model.training.stop_request import StopRequest
from heterrec_schemas.errors import CallError, HeterrecError
from heterrec_schemas.generation import Generation

TUNING = "tuning"
_POLL_S = 0.2


@dataclass(frozen=True)
class SearchResult:
    """The result of the search for one model on one data set.

    Attributes:
        data: name of the data set.
        model: name of the model.
        metric: the validation metric.
        trials: number of trials that have ended, failed ones included.
        best: the best trial; None without a complete one.
        settings: path of its settings, which `train --config` reads.
    """

    data: str
    model: str
    metric: str
    trials: int
    best: Trial | None
    settings: Path

    def to_json(self) -> dict[str, Any]:
        """A part of the output of `tune --json`."""
        best = self.best
        return {
            "data": self.data,
            "model": self.model,
            "metric": self.metric,
            "trials": self.trials,
            "best_trial": None if best is None else best.number,
            "best_value": None if best is None else best.value,
            "best_settings": None if best is None else best.settings,
            "settings": None if best is None else str(self.settings),
        }


@dataclass(eq=False)
class Search:
    """The search for one model on one data set."""

    study: Study
    data: str
    model: str
    generation: Generation
    runs: Path
    results: Path
    trials: list[Trial] = field(default_factory=list, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.data}/{self.model}"
        self.folder = self.runs / TUNING / self.data / self.model
        self.file = self.results / self.study.name / TUNING / self.data / f"{self.model}.csv"
        self.config = self._config({})
        heads = self.config.model.token_heads
        self.space = {
            name: values
            for name, values in self.study.tune.space.items()
            if is_read(self.config.model.name, name, token_heads=heads)
        }
        content = self.generation.manifest.content_sha256
        space = {n: v.model_dump() if isinstance(v, Space) else v for n, v in self.space.items()}
        parts = [settings_digest(self.config), content, space, self.study.tune.seed]
        self.identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def check(self) -> None:
        """Check the settings, and all values of the space.

        Raises:
            CallError: a setting does not exist or has a wrong value, or there are refit epochs.
        """
        where = f"models.{self.model}, on {self.data}"
        if self.config.train.refit_epochs:
            raise CallError(
                f"{where}: a search cannot have train.refit_epochs",
                got=self.config.train.refit_epochs,
                expected=0,
                todo="Refit epochs train on the validation split, which judges the trials.",
            )
        if not self.space:
            raise CallError(f"{where}: tune.space has no setting that the model reads")
        for name, values in self.space.items():
            for value in (values.low, values.high) if isinstance(values, Space) else values:
                try:
                    config = self._config({name: value})
                    check_settings(config)
                    check_for_generation(config, self.generation)
                except HeterrecError as error:
                    text = error.message.removeprefix(f"{where}: ")
                    raise CallError(f"tune.space, {name}, {where}: {text}") from None

    def load(self, *, again: bool) -> None:
        """Read the trials of earlier calls; with `again` those of another search are deleted.

        Raises:
            CallError: they are of another search.
        """
        try:
            self.trials = read_trials(self.file, self.identity)
        except CallError:
            if not again:
                raise
            if self.folder.exists():
                remove_folder(self.folder)
            self.file.unlink()

    def finish(
        self, wanted: int, pool: WorkerPool, stop: StopRequest, display: ProgressDisplay
    ) -> None:
        """Run trials until the wanted number has ended, or a stop request."""
        waiting = [trial for trial in self.trials if trial.state == "running"]
        while True:
            ahead = len(waiting) or wanted - len(self.trials)
            if not pool.running and (stop.name is not None or ahead <= 0):
                break
            while pool.free and ahead > 0 and stop.name is None:
                self._start(waiting.pop(0) if waiting else self._next(), pool)
                ahead -= 1
            if stop.name is not None and not self._told:
                self._told = True
                pool.stop()
            if (found := pool.next(_POLL_S)) is not None:
                number, message = found
                assert isinstance(number, int)
                self._handle(self.trials[number], message, stop, display)
            display.show(self._progress(wanted))
        if best := self._best():
            config = self._config(best.settings)
            write_text(self.file.with_suffix(".yaml"), config.to_yaml())

    def result(self) -> SearchResult:
        """The result so far."""
        ended = sum(trial.state != "running" for trial in self.trials)
        path = self.file.with_suffix(".yaml")
        return SearchResult(self.data, self.model, self.study.metric, ended, self._best(), path)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from the same search.

        Raises:
            CallError: another process works at it.
        """
        busy = CallError(f"another process tunes in {self.folder}", todo="Wait for it.")
        return locked_folder(self.folder, busy)

    def _config(self, settings: Mapping[str, Any]) -> Config:
        """The configuration of a trial."""
        more = {"train.metric": self.study.metric, "evaluation.ks": list(self.study.ks)}
        return settings_of(
            self.study, self.data, self.model, self.study.tune.seed, {**more, **settings}
        )

    def _next(self) -> Trial:
        """A new trial, which is written down before it starts."""
        number = len(self.trials)
        own = flat_settings(self.config.model_dump(mode="json"))
        given = {name: own.get(name) for name in self.space}
        if number or not all(_inside(self.space[name], value) for name, value in given.items()):
            given = proposed_settings(self.space, self.trials, number, self.study.tune.seed)
        trial = Trial(number, given)
        self.trials.append(trial)
        self._write()
        return trial

    def _write(self) -> None:
        write_trials(self.file, self.identity, self.trials)

    def _run_folder(self, trial: Trial) -> Path:
        return self.folder / f"trial-{trial.number:03}"

    def _start(self, trial: Trial, pool: WorkerPool) -> None:
        folder = self._run_folder(trial)
        trial.result["commit"] = code_commit() or ""
        task = Task(
            data=str(self.generation.root),
            content_sha256=self.generation.manifest.content_sha256,
            model=self.model,
            counting=False,
            config=self._config(trial.settings),
            run=str(folder),
            ks=self.study.ks,
            rows=[],
            results="",
            columns={},
        )
        pool.start(trial.number, task, folder.with_name(f"{folder.name}.log"))

    def _handle(
        self, trial: Trial, message: dict[str, Any], stop: StopRequest, display: ProgressDisplay
    ) -> None:
        """Take a message of a worker into account."""
        result = trial.result
        if "trained" in message:
            trained = message["trained"]
            if trained["stopped"] is None and trained["best_metric"] is not None:
                result["value"] = f"{trained['best_metric']:.6f}"
                result["best_step"], result["steps"] = (
                    str(trained["best_step"]),
                    str(trained["step"]),
                )
                result["train_seconds"] = f"{trained['training_seconds']:.3f}"
                result["train_cpu_seconds"] = f"{trained['cpu_seconds']:.3f}"
                trial.state = "complete"
        elif "error" in message:
            trial.state, result["message"] = "failed", " ".join(message["error"].split())
        elif "ended" in message:
            if trial.state == "running" and stop.name is not None:
                return  # continued by the next call
            if trial.state == "running":
                log = self._run_folder(trial).with_name(f"{self._run_folder(trial).name}.log")
                trial.state, result["message"] = "failed", ended_by(message["ended"], log)
            self._write()
            best = self._best()
            shown = (
                f"{self.study.metric} {trial.value:.4f}" if trial.value is not None else trial.state
            )
            note = "" if best is None else f" (best {best.value:.4f}, trial {best.number})"
            display.say(
                f"{self.name}: trial {trial.number}: {shown}{note}, {json.dumps(trial.settings)}"
            )

    def _best(self) -> Trial | None:
        complete = [trial for trial in self.trials if trial.value is not None]
        return max(complete, key=lambda trial: trial.value or 0.0) if complete else None

    def _progress(self, wanted: int) -> str:
        running = []
        for trial in self.trials:
            if trial.state == "running":
                step = last_lines(self._run_folder(trial) / METRICS).get("train", {}).get("step", 0)
                running.append(f"trial {trial.number}, step {step:,}")
        ended = sum(trial.state != "running" for trial in self.trials)
        return f"{self.name}: {ended} of {wanted} trials; {'; '.join(running)}"


def _inside(values: Space | list[Any], value: Any) -> bool:
    if not isinstance(values, Space):
        return value in values
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool(values.low <= value <= values.high)
