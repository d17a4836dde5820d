"""A process that trains and evaluates one run: `python -m heterrec_model.studies.worker`.

It reads a `Task` from the first line of standard input and writes JSON lines to standard output: `state` (training or
evaluating), `trained` (the result of the training), `row` (a row of rows.csv), and `stopped` or `error`, with which it ends.
When standard input ends, the study has ended, and the run is saved and stopped.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import torch
from pydantic import BaseModel, ConfigDict

from heterrec_model.config import Config
from heterrec_model.evaluation.evaluate import (
    evaluate_baseline,
    evaluate_model,
    load_generation,
    with_settings,
)
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import PARTS
from heterrec_model.runs.load_run import LoadedRun, load_run
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.studies.rows import RowKey
from heterrec_model.studies.run_logs import open_gates
from heterrec_model.studies.user_metrics import write_user_metrics
from heterrec_model.training.progress import TrainResult
from heterrec_model.training.train import train
from heterrec_schemas.command_line import unexpected
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.generation import Generation

_WAIT_S = 60.0
"""Seconds to wait for a process of a study that was killed, which saves the same run."""


class Task(BaseModel):
    """What a worker needs.

    Attributes:
        data: path of the generation.
        content_sha256: hash of its content.
        model: name in the study; of a counting baseline also that of the baseline.
        counting: whether the model is a counting baseline.
        config: all settings.
        run: folder of the run.
        ks: of the metrics.
        rows: the rows to write; without any, the run is trained only.
        results: folder of the results of the study.
        columns: further columns of every row.
    """

    model_config = ConfigDict(frozen=True)
    data: str
    content_sha256: str
    model: str
    counting: bool
    config: Config
    run: str
    ks: tuple[int, ...]
    rows: list[RowKey]
    results: str
    columns: dict[str, str | None]


def main() -> None:
    """Train and evaluate the run of the task."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries may print
    try:
        task = Task.model_validate_json(sys.stdin.readline())
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        if not _work(task, out):
            _say(out, stopped=True)
    except HeterrecError as error:
        _say(out, error=error.message)
    except KeyboardInterrupt:
        _say(out, stopped=True)
    except BrokenPipeError:
        pass
    except Exception as error:
        _say(out, error=unexpected(error))
        raise  # the traceback is in the log


def _work(task: Task, out: TextIO) -> bool:
    """Train and evaluate; returns whether the run was not stopped early."""
    generation = load_generation(task.data)
    if generation.manifest.content_sha256 != task.content_sha256:
        raise RunError(
            f"{task.data} was replaced meanwhile",
            got=generation.manifest.content_sha256[:12],
            expected=task.content_sha256[:12],
            todo="Run the study again.",
        )
    columns: dict[str, Any] = {"threads": task.config.train.threads}
    loaded = None
    if not task.counting:
        _wait_for_others(task.run)
        _say(out, state="training")
        result = train(task.config, data=generation.root, run=task.run, resume=True)
        _say(out, trained=result.to_json())
        if result.stopped is not None:
            return False
        if not task.rows:
            return True
        loaded = load_run(task.run, data=generation)
        columns |= _of_run(loaded, result)
    torch.set_num_threads(task.config.train.threads or 1)
    _say(out, state="evaluating")
    for key in task.rows:
        evaluation = _evaluated(task, key, generation, loaded)
        users = write_user_metrics(Path(task.results) / key.users_file, evaluation)
        row = {**_of_evaluation(key, evaluation), **columns, "users_sha256": users}
        _say(out, row={**row, **task.columns, "torch": str(torch.__version__)})
    return True


def _evaluated(
    task: Task, key: RowKey, generation: Generation, loaded: LoadedRun | None
) -> Evaluation:
    config = with_settings(task.config, key.protocol.filter_seen, task.ks, key.protocol.candidates)
    if loaded is None:
        return evaluate_baseline(generation, task.model, key.split, config=config)
    return evaluate_model(loaded.model, generation, key.split, config, checkpoint=loaded.name)


def _of_evaluation(key: RowKey, evaluation: Evaluation) -> dict[str, Any]:
    """The columns of an evaluation."""
    body = evaluation.to_json()
    parts = {
        f"{part}_{name}": value
        for part in PARTS
        if part != "all"
        for name, value in evaluation.part(part).items()
    }
    return {
        **dict(zip(("data", "model", "seed", "split", "protocol"), key.texts, strict=True)),
        "filter_seen": key.protocol.filter_seen,
        "candidates": key.protocol.candidates,
        "users": body["users"],
        "targets": body["targets"],
        "ranked_items": body["candidates"],
        "cold_items": body["cold_candidates"],
        **evaluation.metrics,
        **parts,
        "evaluation_seconds": round(evaluation.seconds, 3),
        "lacks": "; ".join(evaluation.lacks),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _of_run(loaded: LoadedRun, result: TrainResult) -> dict[str, Any]:
    """The columns of a trained model."""
    total, tables = (
        sum(weight.numel() for weight in module.parameters())
        for module in (loaded.model, loaded.model.tables)
    )
    gates = open_gates(RunFolder(result.run).metrics)
    return {
        "parameters": total,
        "parameters_without_tables": total - tables,
        "steps": result.step,
        "epochs": result.epoch,
        "best_step": result.best_step,
        "train_seconds": round(result.training_seconds, 3),
        "train_cpu_seconds": round(result.cpu_seconds, 3),
        "open_gates": json.dumps(gates) if gates else None,
        "device": next(loaded.model.parameters()).device.type,
    }


def _wait_for_others(run: str) -> None:
    """Wait while a worker of a study that has just ended saves the run.

    Raises:
        CallError: another process still trains in the folder.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            with RunFolder(run).lock():
                return
        except CallError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _stop_with_parent() -> None:
    """Stop as on SIGTERM when the parent has ended, however it did."""
    with suppress(OSError, ValueError):
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say(out: TextIO, **message: Any) -> None:
    out.write(json.dumps(message, default=str) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
