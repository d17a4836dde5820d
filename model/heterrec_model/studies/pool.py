"""The worker processes of a study: started, listened to and stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TextIO

from heterrec_model.runs.atomic_files import writing
from heterrec_model.studies.worker import Task
from heterrec_schemas.stores.disk import make_folder

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class WorkerPool:
    """At most `size` workers at a time; on exit those that still run are killed.

    Their messages are dicts as in `worker.py`; the last one of each is `{"ended": exit code}`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: SimpleQueue[tuple[Hashable, dict[str, Any]]] = SimpleQueue()
        self._workers: dict[Hashable, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.wait()

    @property
    def running(self) -> int:
        """Number of workers that have not ended."""
        return len(self._workers)

    @property
    def free(self) -> bool:
        """Whether another worker may start."""
        return self.running < self._size

    def start(self, name: Hashable, task: Task, log: Path) -> None:
        """Start a worker, whose warnings and tracebacks are appended to the log.

        Raises:
            RunError: the log cannot be written.
        """
        with writing(log):
            make_folder(log.parent)
            with log.open("a") as errors:
                worker = _spawn(errors, task.config.train.threads or 1)
        self._workers[name] = worker
        threading.Thread(target=self._listen, args=(name, worker), daemon=True).start()
        assert worker.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: its exit code is a message
            worker.stdin.write(task.model_dump_json() + "\n")
            worker.stdin.flush()

    def next(self, timeout: float) -> tuple[Hashable, dict[str, Any]] | None:
        """The next message and the name of its worker; None after `timeout` seconds without one."""
        try:
            name, message = self._messages.get(timeout=timeout)
        except Empty:
            return None
        if "ended" in message:
            worker = self._workers.pop(name)
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        return name, message

    def stop(self) -> None:
        """Let all workers save their runs and end."""
        for worker in self._workers.values():
            worker.send_signal(signal.SIGTERM)

    def _listen(self, name: Hashable, worker: "subprocess.Popen[str]") -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            with suppress(ValueError):  # cut off by a kill
                self._messages.put((name, json.loads(line)))
        self._messages.put((name, {"ended": worker.wait()}))


def _spawn(errors: TextIO, threads: int) -> "subprocess.Popen[str]":
    """Start a worker process."""
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-m", "heterrec_model.studies.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's to handle
    )
