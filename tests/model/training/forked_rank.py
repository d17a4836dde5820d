"""A rank of torchrun as a fork of its process: the part of `subprocess.Popen` that torchrun uses."""

import os
import signal
import subprocess
import sys
import time

import torch._dynamo  # noqa: F401 - the first optimizer imports it: once here instead of in every fork

import heterrec_model.commands
import heterrec_model.training.train  # noqa: F401
from heterrec_model.__main__ import main


class ForkedRank:
    """Runs `python -u -m heterrec_model` with the arguments that follow."""

    def __init__(self, command: tuple[str, ...], variables: dict[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(command[command.index("heterrec_model") :], variables)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return code


def _run(arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.closerange(3, 4096)  # torchrun's connections
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = ["heterrec-model", *arguments[1:]]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
