"""metrics.jsonl, TensorBoard, MLflow: one line and its points per `train.log_every` steps and per validation."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from heterrec_model.runs.atomic_files import writing
from heterrec_model.runs.mlflow_log import MlflowLog, Status
from heterrec_model.runs.run_folder import RunFolder
from heterrec_schemas.stores.disk import sync


class RunLog:
    """Writes the logs of a run; a resumed run continues them without a gap.

    Args:
        folder: of the run.
        length: bytes of metrics.jsonl that belong to the steps done; the rest is removed.
        step: steps done.
        tensorboard: whether event files are written too.
        mlflow: gets the points too, also those of the lines that exist.

    Raises:
        RunError: the logs cannot be written.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        length: int,
        step: int,
        tensorboard: bool,
        mlflow: MlflowLog | None = None,
    ) -> None:
        self._path = folder.metrics
        with writing(self._path):
            _cut(self._path, length)
            self._file = self._path.open("ab", buffering=0)
            sync(self._path.parent)
        self._board: Any = None
        self._mlflow = mlflow
        if mlflow is not None:
            for line in self._path.read_bytes().splitlines():
                mlflow.points(_steps(json.loads(line)))
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            with writing(folder.tensorboard):
                # TensorBoard discards the points of an earlier process from this step on.
                self._board = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl, flushed to the disk."""
        with writing(self._path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def line(self, kind: str, body: dict[str, Any]) -> None:
        """Write one line; `body` contains `step`. All numbers, also those of inner mappings, become points.

        Raises:
            RunError: the disk is full.
        """
        data = json.dumps({"kind": kind, **_plain(body)}).encode("utf-8") + b"\n"
        with writing(self._path):
            while data:  # a write may be cut short; the next one then says why
                data = data[self._file.write(data) :]
            if self._board is not None:
                for name, value in _points(body):
                    self._board.add_scalar(f"{kind}/{name}", value, body["step"])
                self._board.flush()
        if self._mlflow is not None:
            self._mlflow.points(_steps({"kind": kind, **body}))

    def result(self, settings: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Write the settings of a finished run and its best validation metrics for TensorBoard's table of runs (hparams).

        Raises:
            RunError: the disk is full.
        """
        if self._board is None:
            return
        from torch.utils.tensorboard.summary import hparams

        plain = {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in settings.items()
        }
        named = {f"best/{name}": value for name, value in metrics.items()}
        with writing(self._path):
            # `add_hparams` would write them to a folder of their own, which TensorBoard shows as another run.
            for summary in hparams(plain, named):  # type: ignore[no-untyped-call]
                self._board.file_writer.add_summary(summary, step)
            for name, value in named.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    def close(self, status: Status = "FAILED") -> None:
        """Close the files, and end the run in MLflow."""
        if self._mlflow is not None:
            self._mlflow.close(status)
        with writing(self._path):
            self._file.close()
            if self._board is not None:
                self._board.close()


def _cut(path: Path, length: int) -> None:
    """Remove the lines beyond a length, and an incomplete line if the file is shorter."""
    path.touch()
    size = path.stat().st_size
    if size == length:
        return
    with path.open("r+b") as file:
        kept = file.read(min(length, size))
        file.truncate(kept.rfind(b"\n") + 1)
        sync(path)


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Replace values that JSON does not have, NaN and infinity, by None."""
    return {
        name: _plain(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and not math.isfinite(value) else value)
        for name, value in body.items()
    }


def _steps(line: dict[str, Any]) -> list[tuple[str, float, int]]:
    """Name, value and step of the points of a line."""
    return [(f"{line['kind']}/{name}", value, line["step"]) for name, value in _points(line)]


def _points(body: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in body.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", number) for inner, number in _points(value))
        elif name != "step" and isinstance(value, (int, float)):
            yield name, float(value)
