"""MLflow: the settings of a run as parameters, its metrics with their steps, and tags that name its data.

Everything is sent by a thread, so a slow tracking server does not slow the training, and one that fails does not end it.
The run folder keeps the id of the MLflow run, which a resumed run continues.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal

from heterrec_model.config import Config
from heterrec_model.model_settings import flat_settings
from heterrec_model.runs.atomic_files import write_text
from heterrec_model.runs.run_folder import RunFolder
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, with_extra

Status = Literal["FINISHED", "FAILED", "KILLED"]
Point = tuple[str, float, int]
"""Name, value and step of a metric."""
PARAMS, METRICS, PARAM_LENGTH, NAME_LENGTH = 100, 1000, 6000, 250
"""MLflow's limits: of a request, of a parameter, of a name."""
LAST_WAIT_S = 20.0
"""Seconds that the end of a run waits for what is still to be sent."""


class MlflowLog:
    """Sends a run to the tracking server that MLFLOW_TRACKING_URI names.

    Args:
        folder: of the run.
        config: its settings.
        generation: id and content hash of its generation.
        warn: shows a message; called at most once, by the thread that trains.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        generation: dict[str, str],
        warn: Callable[[str], None],
    ) -> None:
        self._folder, self._config, self._generation = folder, config, generation
        self._warn: Callable[[str], None] | None = warn
        self._queue: SimpleQueue[list[Point] | Status] = SimpleQueue()
        self._problem: str | None = None
        self._resumed = folder.mlflow.exists()
        self._known: dict[str, set[int]] = {}
        self._thread = Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def points(self, points: Iterable[Point]) -> None:
        """Send metrics; those that the MLflow run already has at their step are left out."""
        if self._problem is None:
            self._queue.put([(metric_name(name), value, step) for name, value, step in points])
        else:
            self._warn_once(self._problem)

    def close(self, status: Status) -> None:
        """Wait for the server, but not long, and set the status of the MLflow run."""
        self._queue.put(status)
        self._thread.join(LAST_WAIT_S)
        if self._thread.is_alive():
            self._warn_once(f"no answer in {LAST_WAIT_S:.0f} seconds")
        elif self._problem is not None:
            self._warn_once(self._problem)

    def _warn_once(self, problem: str) -> None:
        if self._warn is not None:
            self._warn(
                f"MLflow lacks metrics of this run: {problem.rstrip('.')}. {self._folder.metrics} has all; "
                "--resume sends those that are missing"
            )
        self._warn = None

    def _work(self) -> None:
        try:
            # Standard output belongs to --json.
            os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
            from mlflow import MlflowClient

            client = MlflowClient()
            run = self._run(client)
            while True:
                taken = self._queue.get()
                if isinstance(taken, str):
                    client.set_terminated(run, taken)
                    return
                self._send(client, run, taken)
        except Exception as error:  # whatever a client of any store raises
            self._problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    def _run(self, client: Any) -> str:
        """The id of the MLflow run: the one that the run folder names, or a new one."""
        if self._resumed:
            run = str(parse_json(self._folder.mlflow.read_bytes())["run_id"])
            client.update_run(run, status="RUNNING")
            return run
        made = client.create_run(
            _experiment(client),
            run_name=self._folder.path.name,
            tags={
                "heterrec.generation": self._generation["id"],
                "heterrec.content_sha256": self._generation["content_sha256"],
                "heterrec.run": str(self._folder.path.absolute()),
            },
        )
        run = str(made.info.run_id)
        params = list(flat_settings(self._config.model_dump(mode="json")).items())
        for some in _chunks(params, PARAMS):
            client.log_batch(run, params=[_param(name, value) for name, value in some])
        write_text(self._folder.mlflow, json.dumps({"run_id": run}) + "\n")
        return run

    def _send(self, client: Any, run: str, points: list[Point]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [p for p in points if not (self._resumed and p[2] in self._steps(client, run, p[0]))]
        for some in _chunks(new, METRICS):
            metrics = [Metric(name, value, now, step) for name, value, step in some]
            client.log_batch(run, metrics=metrics)

    def _steps(self, client: Any, run: str, name: str) -> set[int]:
        """The steps of a metric that the MLflow run had when it was resumed."""
        if name not in self._known:
            self._known[name] = {m.step for m in client.get_metric_history(run, name)}
        return self._known[name]


def check_installed() -> None:
    """Check that MLflow can be imported.

    Raises:
        CallError: it cannot.
    """
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise CallError(
            f"train.mlflow needs MLflow: {error}",
            todo=with_extra("mlflow") + " Or set train.mlflow: false.",
        ) from None


def metric_name(name: str) -> str:
    """The name of a metric in the characters that MLflow allows: `ndcg@50` is `ndcg_at_50`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))[:NAME_LENGTH]


def _param(name: str, value: object) -> Any:
    from mlflow.entities import Param

    text = value if isinstance(value, str) else json.dumps(value)
    return Param(name, text[:PARAM_LENGTH])


def _experiment(client: Any) -> str:
    """The id of the experiment that MLflow's variables name, or of the default one."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name:
        return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _chunks(values: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
