"""The state of each run of a study while the study runs."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from heterrec_model.studies.plan import PlannedRun
from heterrec_model.studies.rows import RowKey

State = Literal[
    "had rows", "waiting", "starting", "training", "evaluating", "done", "failed", "stopped"
]
IN_PROGRESS = ("starting", "training", "evaluating")


@dataclass(eq=False)
class RunState:
    """A run and how far it is.

    Attributes:
        planned: the run.
        folder: its run folder.
        missing: the rows to write.
        state: what it does.
        message: why it failed.
        rows_written: number of rows written by this call.
    """

    planned: PlannedRun
    folder: Path
    missing: tuple[RowKey, ...]
    message: str | None = None
    rows_written: int = 0

    def __post_init__(self) -> None:
        self.state: State = "waiting" if self.missing else "had rows"
        self._started = self._ended = 0.0

    @property
    def name(self) -> str:
        """The run in messages."""
        return f"{self.planned.data}/{self.planned.name}"

    @property
    def log(self) -> Path:
        """The file of its warnings and tracebacks."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def seconds(self) -> float:
        """Seconds since it was started by this call."""
        if not self._started:
            return 0.0
        return (self._ended or time.monotonic()) - self._started

    def begin(self) -> None:
        """Its worker has been started."""
        self.state, self._started = "starting", time.monotonic()

    def end(self, code: int, *, stopping: bool) -> None:
        """Its worker has ended with an exit code."""
        self._ended = time.monotonic()
        if self.rows_written == len(self.missing):
            self.state = "done"
        elif self.message is None and stopping:
            self.state = "stopped"
        else:
            self.state = "failed"
            self.message = self.message or ended_by(code, self.log)


def ended_by(code: int, log: Path) -> str:
    """Why a worker has ended, from its exit code."""
    if code < 0:
        by = f"signal {signal.Signals(-code).name}"
        hint = " (memory was short?)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {by}{hint}; see {log}"
    return f"its process ended early with exit code {code}; see {log}"
