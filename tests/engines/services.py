"""Beam's local job service as a process, and the processes of a command."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from warm_command import Running

LOOPBACK = "heterrec_pipeline.runtime.loopback"
MODULE = "apache_beam.runners.portability.local_job_service_main"


class JobService:
    """The service, as a context."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        port = Path(self._folder.name) / "port"
        self.process = subprocess.Popen(
            [sys.executable, "-m", LOOPBACK, MODULE, "--port_file", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while not port.exists():
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        self.endpoint = f"localhost:{port.read_text()}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()


def below(process: Running) -> list[psutil.Process]:
    """The processes that a command has started, directly or not."""
    return psutil.Process(process.pid).children(recursive=True)


def named(processes: list[psutil.Process], word: str) -> psutil.Process:
    """The first of the processes with a word in its command line."""
    return next(p for p in processes if word in " ".join(p.cmdline()))


def wait_until(true: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it does not hold in time.
    """
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"did not come within {seconds} s"
        time.sleep(0.02)
