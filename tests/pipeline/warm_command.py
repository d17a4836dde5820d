"""Runs the command line in forks of a process that has imported it: most of a short command's time is Beam's import."""

import atexit
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue

PROGRESS = re.compile(r"^ *\d+ s  |^warning: ")
_SERVER = """
import json, os, sys
import heterrec_pipeline.building, heterrec_pipeline.commands, heterrec_pipeline.commands.build_display
from heterrec_pipeline.__main__ import main
from quick_graphs import quicken

quicken(setattr)

for line in sys.stdin:
    call = json.loads(line)
    if (child := os.fork()) == 0:
        for number, name in enumerate((os.devnull, call["out"], call["err"])):
            handle = os.open(name, os.O_RDWR | os.O_CREAT)
            os.dup2(handle, number)
            os.close(handle)
        os.environ.clear()
        os.environ.update(call["environment"])
        sys.argv = ["heterrec-pipeline", *call["arguments"]]
        main()
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


class WarmCommands:
    """Processes that have imported the command line and fork for every call; each call has a process of its own."""

    def __init__(self) -> None:
        self._servers: list[subprocess.Popen[str]] = []
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def __call__(self, *arguments: object, timeout: float = 300) -> Finished:
        """Run the command line to its end; threads may call at the same time."""
        try:
            server = self._idle.get_nowait()
        except Empty:
            server = self._started()
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name) / "out", Path(name) / "err"
            call = {"arguments": list(map(str, arguments)), "environment": environment()}
            call |= {"out": str(out), "err": str(err)}
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(call) + "\n")
            server.stdin.flush()
            if not select.select([server.stdout], [], [], timeout)[0]:
                os.killpg(server.pid, signal.SIGKILL)
                raise TimeoutError(f"{call['arguments']} runs for more than {timeout} s")
            code = int(server.stdout.readline())
            self._idle.put(server)
            return Finished(code, out.read_text("utf-8"), err.read_text("utf-8"))

    def _started(self) -> subprocess.Popen[str]:
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
            encoding="utf-8",
            start_new_session=True,
        )
        self._servers.append(server)
        return server

    def close(self) -> None:
        """End the processes."""
        for server in self._servers:
            with server:  # closes its pipes and waits
                pass


@cache
def warm_commands() -> WarmCommands:
    """The processes of this run of the tests."""
    commands = WarmCommands()
    atexit.register(commands.close)
    return commands
