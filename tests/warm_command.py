"""Runs the command lines in forks of a process that has imported them, as imports take most of a short command's time."""

import atexit
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue

PROGRESS = re.compile(r"^ *\d+ s  |^warning: ")
_BEFORE = {
    "heterrec_pipeline": """
import heterrec_pipeline.building, heterrec_pipeline.commands, heterrec_pipeline.commands.build_display
from heterrec_pipeline.__main__ import main
from quick_graphs import quicken, rest_collector

quicken(setattr)
rest_collector()
""",
    "heterrec_model": """
import pandas, torch._dynamo  # by PyArrow and the first optimizer: most of the time of a small training
import heterrec_model.commands, heterrec_model.training.train
from heterrec_model.__main__ import main
""",
    "study": """
import heterrec_model.commands, heterrec_model.training.train
from forked_worker import ForkedWorker
from heterrec_model.__main__ import main
from heterrec_model.studies import pool

pool._spawn = ForkedWorker
""",
    "torchrun": """
from forked_rank import ForkedRank
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler
from torch.distributed.run import main

SubprocessHandler._popen = lambda self, command, variables: ForkedRank(command, variables)
""",
}
"""What a process does once, by package: it imports what commands import when they run."""
_VARIABLES = {name: {"OMP_NUM_THREADS": "1"} for name in ("heterrec_model", "study", "torchrun")}
"""Variables of the processes of a package."""
_SERVER = """
import json, os, resource, signal, sys

for line in sys.stdin:
    call = json.loads(line)
    if (child := os.fork()) == 0:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal's shell starts it
        os.write(1, b"%d\\n" % os.getpid())  # from now on it can be signalled
        for number, name in enumerate((os.devnull, call["out"], call["err"])):
            handle = os.open(name, os.O_RDWR)
            os.dup2(handle, number)
            os.close(handle)
        os.environ.clear()
        os.environ.update(call["environment"])
        if call["cwd"]:
            os.chdir(call["cwd"])
        if call["memory"]:
            resource.setrlimit(resource.RLIMIT_AS, (call["memory"], call["memory"]))
        sys.argv = [call["name"], *call["arguments"]]
        main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Finished:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The error message: everything on stderr after the progress and the warnings."""
        lines = self.err.splitlines()
        while lines and PROGRESS.match(lines[0]):
            lines.pop(0)
        return "\n".join(lines)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without variables that change the output of the command line."""
    odd = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    return {k: v for k, v in os.environ.items() if k not in odd} | more


class Running:
    """A command that runs in a session of its own, with as much of `subprocess.Popen` as tests use."""

    def __init__(
        self,
        server: "subprocess.Popen[bytes]",
        package: str,
        arguments: Sequence[object],
        leave: Callable[["subprocess.Popen[bytes]"], None],
        variables: dict[str, str],
        memory: int = 0,
        cwd: Path | None = None,
    ) -> None:
        self._server, self._leave = server, leave
        self._folder = Path(tempfile.mkdtemp())
        self._texts = ("", "")
        self.returncode: int | None = None
        call: dict[str, object] = {
            "name": package.replace("_", "-"),
            "arguments": list(map(str, arguments)),
            "memory": memory,
            "cwd": cwd and str(cwd),
        }
        call["environment"] = environment(**_VARIABLES.get(package, {}), **variables)
        for name in ("out", "err"):
            (self._folder / name).touch()
            call[name] = str(self._folder / name)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(call).encode() + b"\n")
        server.stdin.flush()
        self._said = server.stdout
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """The exit code, or None while the command runs."""
        return self._ended(0)

    def told(self) -> str:
        """Standard error, as far as it is written."""
        return self._texts[1] if self._ended(0) is not None else self._read("err")

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Standard output and standard error, at the end."""
        self.wait(timeout)
        return self._texts

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code."""
        if (code := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to a command that still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._said], [], [], timeout)[0]:
            self.returncode = int(self._said.readline())
            self._texts = self._read("out"), self._read("err")
            shutil.rmtree(self._folder)
            self._leave(self._server)
        return self.returncode

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text("utf-8")


class WarmCommands:
    """Processes that have imported a package's command line and fork for every call: each call has a process of its own."""

    def __init__(self, package: str, **variables: str) -> None:
        self._package, self._variables = package, variables
        self._servers: list[subprocess.Popen[bytes]] = []
        self._running: list[Running] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def start(
        self, *arguments: object, memory: int = 0, cwd: Path | None = None, **variables: str
    ) -> Running:
        """Start the command line; threads may call at the same time.

        Args:
            *arguments: of the command line.
            memory: bytes that it may have; 0 for any.
            cwd: the folder that it begins in; None for that of the tests.
            **variables: added to its environment.
        """
        try:
            server = self._idle.get_nowait()
        except Empty:
            server = self._started()
        more = self._variables | variables
        running = Running(server, self._package, arguments, self._idle.put, more, memory, cwd)
        self._running = [*(r for r in self._running if r.returncode is None), running]
        return running

    def __call__(
        self,
        *arguments: object,
        timeout: float = 300,
        memory: int = 0,
        cwd: Path | None = None,
        **variables: str,
    ) -> Finished:
        """Run the command line to its end; arguments as in `start`."""
        running = self.start(*arguments, memory=memory, cwd=cwd, **variables)
        try:
            out, err = running.communicate(timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(10)
            raise
        return Finished(running.wait(), out, err)

    def _started(self) -> "subprocess.Popen[bytes]":
        server = subprocess.Popen(
            [sys.executable, "-c", _BEFORE[self._package] + _SERVER],
            bufsize=0,  # a line that lies in a buffer would not be seen by `select`
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(
                PYTHONPATH=os.pathsep.join(sys.path),
                **_VARIABLES.get(self._package, {}),
                **self._variables,
            ),
            start_new_session=True,
        )
        self._servers.append(server)
        return server

    def close(self) -> None:
        """End the processes, and commands that tests have left."""
        for running in self._running:
            running.kill()
        for server in self._servers:
            with server:  # closes its pipes and waits
                pass


@cache
def warm_commands(package: str = "heterrec_pipeline", **variables: str) -> WarmCommands:
    """The processes of this run of the tests, with further variables."""
    commands = WarmCommands(package, **variables)
    atexit.register(commands.close)
    return commands
