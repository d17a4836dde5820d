"""metrics.jsonl and TensorBoard: one line, and one set of points, every `train.log_every` steps and validation."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

from heterrec_model.runs.atomic_files import sync, writing
from heterrec_model.runs.run_folder import RunFolder


class RunLog:
    """Writes a run's logs; a resumed run's go on as if it had never stopped."""

    def __init__(self, folder: RunFolder, *, length: int, step: int, tensorboard: bool) -> None:
        """Open the logs.

        Args:
            folder: of the run.
            length: bytes of metrics.jsonl that belong to the steps done; what stands behind them is cut off.
            step: steps done.
            tensorboard: write event files too.

        Raises:
            RunError: they cannot be written.
        """
        self._path = folder.metrics
        with writing(self._path):
            _cut(self._path, length)
            self._file = self._path.open("ab", buffering=0)
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            with writing(folder.tensorboard):
                # TensorBoard forgets what an earlier process wrote from this step on.
                self._board = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl, on the disk when this returns."""
        with writing(self._path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def line(self, kind: str, body: dict[str, Any]) -> None:
        """Write one line; `body` has `step`. Its numbers, also those in an inner mapping, become points.

        Raises:
            RunError: the disk is full.
        """
        data = json.dumps({"kind": kind, **_plain(body)}).encode("utf-8") + b"\n"
        with writing(self._path):
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._board is not None:
            with writing(self._path):
                for name, value in _points(body):
                    self._board.add_scalar(f"{kind}/{name}", value, body["step"])
                self._board.flush()

    def close(self) -> None:
        """Close the files."""
        with writing(self._path):
            self._file.close()
            if self._board is not None:
                self._board.close()


def _cut(path: Path, length: int) -> None:
    """Drop the lines behind a length, and a half-written one if the file is shorter."""
    path.touch()
    if path.stat().st_size == length:
        return
    with path.open("r+b") as file:
        kept = file.read(length)
        file.truncate(kept.rfind(b"\n") + 1)
        sync(path)


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: _plain(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and not math.isfinite(value) else value)
        for name, value in body.items()
    }


def _points(body: dict[str, Any]) -> list[tuple[str, float]]:
    points: list[tuple[str, float]] = []
    for name, value in body.items():
        if isinstance(value, dict):
            points += [(f"{name}/{inner}", number) for inner, number in _points(value)]
        elif name != "step" and isinstance(value, (int, float)):
            points.append((name, float(value)))
    return points
