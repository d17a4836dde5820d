"""Run a command as a process and take its wall time, CPU time and peak memory over all its processes."""

import os
import platform
import subprocess
import threading
import time
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """One run: seconds of wall time and of CPU time, peak resident megabytes of the process tree, and what it printed.

    `private_mb` leaves out pages of mapped files, which the system takes back when it needs them.
    """

    wall: float
    cpu: float
    peak_mb: float
    private_mb: float
    output: str


def run(command: list[str], also: int | None = None) -> Run:
    """Run a command to its end; another process may count too, which works for it.

    Raises:
        RuntimeError: it failed; the message holds the end of what it printed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = Peak(process.pid, also)
    peak.start()
    output, _ = process.communicate()
    wall = time.perf_counter() - started
    peak.stop()
    if process.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}"
        )
    return Run(wall, peak.cpu, peak.bytes / 2**20, peak.private / 2**20, output)


class Peak(threading.Thread):
    """Samples the resident memory of a process and its children, added up."""

    def __init__(self, pid: int, also: int | None = None) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._also = [] if also is None else [psutil.Process(also)]
        self._done = threading.Event()
        self.bytes = 0
        self.private = 0
        self.cpu = 0.0

    def run(self) -> None:
        """Sample until `stop`."""
        while not self._done.wait(SAMPLE_SECONDS):
            total, private, cpu = 0, 0, 0.0
            try:
                for process in [self._root, *self._root.children(recursive=True), *self._also]:
                    memory = process.memory_info()
                    total += memory.rss
                    private += memory.rss - memory.shared
                    times = process.cpu_times()
                    cpu += times.user + times.system
            except psutil.Error:
                continue
            self.bytes = max(self.bytes, total)
            self.private = max(self.private, private)
            self.cpu = max(self.cpu, cpu)

    def stop(self) -> None:
        """End it."""
        self._done.set()
        self.join()


def machine() -> str:
    """The machine's shape in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, {platform.machine()}, "
        f"Python {platform.python_version()}"
    )
