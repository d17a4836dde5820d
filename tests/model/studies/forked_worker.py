"""A worker as a fork of the test's process: the part of `subprocess.Popen` that a pool uses."""

import os
import signal
import sys
import threading
from io import TextIOWrapper
from typing import TextIO

import torch._dynamo  # noqa: F401 - the first optimizer imports it: once here instead of in every fork

from heterrec_model.studies import worker


class ForkedWorker:
    def __init__(self, errors: TextIO, threads: int) -> None:
        (task, self._in), (self._out, out) = os.pipe(), os.pipe()
        self.pid, self.returncode = os.fork(), None
        self._waiting = threading.Lock()
        if self.pid == 0:
            _work(task, out, errors.fileno())
        os.close(task)
        os.close(out)
        self.stdin: TextIOWrapper = os.fdopen(self._in, "w")
        self.stdout: TextIOWrapper = os.fdopen(self._out)

    def wait(self) -> int:
        with self._waiting:  # two threads may wait for it
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _work(task: int, out: int, errors: int) -> None:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for there, here in ((task, 0), (out, 1), (errors, 2)):
            os.dup2(there, here)
        os.closerange(3, 4096)  # else the pipes of the others would stay open
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        worker.main()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)
