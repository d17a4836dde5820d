"""Runs a study: trains and evaluates what has no row yet, several runs at a time, and continues after any interruption."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from heterrec_model.runs.atomic_files import remove_folder, write_text, writing
from heterrec_model.runs.run_folder import CONFIG, RunFolder
from heterrec_model.studies.live_table import LiveTable
from heterrec_model.studies.plan import PlannedRun, open_data, planned_runs, settings_digest
from heterrec_model.studies.pool import WorkerPool
from heterrec_model.studies.provenance import code_commit, heterrec_version
from heterrec_model.studies.rows import Row, RowKey, Rows
from heterrec_model.studies.states import RunState
from heterrec_model.studies.study_file import Study
from heterrec_model.studies.worker import Task
from heterrec_model.training.stop_request import StopRequest
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import Generation
from heterrec_schemas.stores.disk import make_folder

POLL_S = 0.2
"""Seconds between updates of the live table."""
SETTINGS = "settings"
MOST_PROCESSES = 1024


@dataclass(frozen=True)
class StudyResult:
    """What a call has done.

    Attributes:
        folder: folder of the study's results.
        runs: all runs and counting baselines of the study.
        stopped: name of the signal that stopped the study early, or None.
        seconds: duration of the call.
    """

    folder: Path
    runs: Sequence[RunState]
    stopped: str | None
    seconds: float

    @property
    def failed(self) -> list[RunState]:
        """The runs that failed."""
        return [run for run in self.runs if run.state == "failed"]

    @property
    def has_rows(self) -> bool:
        """Whether a run has rows."""
        return any(run.state in ("done", "had rows") or run.rows_written for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """The output of `study --json`."""
        return {
            "results": str(self.folder),
            "runs": [
                {
                    "data": run.planned.data,
                    "model": run.planned.model,
                    "seed": run.planned.seed,
                    "state": run.state,
                    "message": run.message,
                }
                for run in self.runs
            ],
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }


def run_study(
    study: Study,
    *,
    runs: str | Path,
    results: str | Path,
    processes: int = 1,
    again: bool = False,
    command: str | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Train and evaluate all runs of a study that have no row yet; the same call continues after an interruption.

    SIGTERM and Ctrl-C let the runs in progress save their state; a second signal kills them. A run that fails does not stop
    the others.

    Args:
        study: the study.
        runs: folder of the run folders, `runs/<data>/<model>-<seed>`.
        results: folder of the results; those of the study are in `results/<study>`.
        processes: maximum number of runs in progress at a time.
        again: replace rows and runs of other settings or data, instead of refusing them.
        command: the command line, for the rows.
        quiet: print nothing.

    Raises:
        CallError: a setting is wrong, or rows or runs of other settings or data exist and `again` is false.
        GenerationError: a data set cannot be read.
        RunError: a file cannot be written.
    """
    started = time.monotonic()
    if not 1 <= processes <= MOST_PROCESSES:
        raise CallError("processes", got=processes, expected=f"1 to {MOST_PROCESSES:,}")
    generations = open_data(study)
    planned = planned_runs(study, generations)
    rows, folder = Rows(results, study.name), Path(runs)
    states = _states(planned, rows, folder, again=again)
    _write_settings(rows.folder, planned)
    console = None if quiet else Console(stderr=True, markup=False)
    stop = StopRequest()
    with stop.listening(), WorkerPool(processes) as pool, LiveTable(console, states) as table:
        _Work(study, generations, rows, folder, command, states, pool, stop, table).finish()
    return StudyResult(rows.folder, states, stop.name, time.monotonic() - started)


def run_folder(runs: Path, planned: PlannedRun) -> Path:
    """The folder of a run."""
    return runs / planned.data / planned.name


@dataclass(eq=False)
class _Work:
    """The runs in progress."""

    study: Study
    generations: Mapping[str, Generation]
    rows: Rows
    runs: Path
    command: str | None
    states: Sequence[RunState]
    pool: WorkerPool
    stop: StopRequest
    table: LiveTable
    _told: bool = field(default=False, init=False)

    def finish(self) -> None:
        """Work until all runs are done, or the study is stopped."""
        waiting = [state for state in self.states if state.state == "waiting"]
        waiting.reverse()
        while self.pool.running or (waiting and self.stop.name is None):
            while waiting and self.pool.free and self.stop.name is None:
                self._start(waiting.pop())
            if self.stop.name is not None and not self._told:
                self._told = True
                self.pool.stop()
            found = self.pool.next(POLL_S)
            if found is not None:
                name, message = found
                assert isinstance(name, int)
                self._handle(self.states[name], message)
            self.table.refresh()
        for state in waiting:
            state.state = "stopped"

    def _start(self, state: RunState) -> None:
        planned = state.planned
        generation = self.generations[planned.data]
        columns = {
            "study": self.study.name,
            "content_sha256": planned.content_sha256,
            "settings_sha256": planned.settings_sha256,
            "commit": code_commit(),
            "heterrec": heterrec_version(),
            "command": self.command,
        }
        task = Task(
            data=str(generation.root),
            content_sha256=planned.content_sha256,
            model=planned.model,
            counting=planned.seed is None,
            config=planned.config,
            run=str(state.folder),
            ks=planned.ks,
            rows=list(state.missing),
            results=str(self.rows.folder),
            columns=columns,
        )
        state.begin()
        self.pool.start(self.states.index(state), task, state.log)
        self.table.say(state)

    def _handle(self, state: RunState, message: dict[str, Any]) -> None:
        """Take a message of a worker into account."""
        if "row" in message:
            self.rows.add([message["row"]])
            state.rows_written += 1
        elif "state" in message:
            state.state = message["state"]
            self.table.say(state)
        elif "error" in message:
            state.message = message["error"]
        elif "ended" in message:
            state.end(message["ended"], stopping=self.stop.name is not None)
            self.table.say(state)


def _states(
    planned: Sequence[PlannedRun], rows: Rows, runs: Path, *, again: bool
) -> list[RunState]:
    """The runs with their missing rows.

    Raises:
        CallError: rows or runs of other settings or data exist and `again` is false; all are named.
    """
    known = rows.read()
    states, other, outdated = [], [], []
    for run in planned:
        folder = run_folder(runs, run)
        missing = []
        for key in run.rows:
            row = known.get(key.texts)
            if row is None or not _has_metrics(row, run):
                missing.append(key)
            elif difference := _difference(row, run):
                missing.append(key)
                if run.seed is not None:
                    other.append(f"the row {_shown(key)}: {difference}")
        if missing and run.seed is not None and (difference := _folder_difference(folder, run)):
            outdated.append(folder)
            other.append(f"the run {folder}: {difference}")
        states.append(RunState(run, folder, tuple(missing)))
    if other and not again:
        shown = [*other[:20], *([f"and {len(other) - 20} more"] if len(other) > 20 else [])]
        raise CallError(
            "\n  ".join([f"{len(other)} row(s) or run(s) do not fit the study", *shown]),
            todo="Give the changed model another name, or replace them with --again, which deletes these runs.",
        )
    for folder in outdated:
        remove_folder(folder)
    return states


def _difference(row: Row, run: PlannedRun) -> str:
    """How a row differs from what the run gives; empty if it does not."""
    for column, what in (("content_sha256", "content"), ("settings_sha256", "settings")):
        got, expected = row[column], getattr(run, column)
        if got != expected:
            return f"{what} {got[:12]}, now {expected[:12]}"
    return ""


def _folder_difference(folder: Path, run: PlannedRun) -> str:
    """How a run on disk differs from what the study trains; empty if it does not, or does not exist."""
    saved = RunFolder(folder)
    if CONFIG not in saved.contents():
        return ""
    trained, digest = saved.generation().content_sha256, settings_digest(saved.config())
    if trained != run.content_sha256:
        return f"content {trained[:12]}, now {run.content_sha256[:12]}"
    if digest != run.settings_sha256:
        return f"settings {digest[:12]}, now {run.settings_sha256[:12]}"
    return ""


def _has_metrics(row: Row, run: PlannedRun) -> bool:
    """Whether a row has the metrics of all ks; a split without users has none."""
    return row["users"] == "0" or all(row.get(f"ndcg@{k}") for k in run.ks)


def _shown(key: RowKey) -> str:
    return ", ".join(text for text in key.texts if text)


def _write_settings(results: Path, planned: Sequence[PlannedRun]) -> None:
    """Write the settings of every model and data set, as `train --config` reads them; the seed is that of the first run."""
    done = set()
    for run in planned:
        path = results / SETTINGS / run.data / f"{run.model}.yaml"
        if run.seed is None or path in done:
            continue
        done.add(path)
        with writing(path):
            make_folder(path.parent)
        text = run.config.to_yaml()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
