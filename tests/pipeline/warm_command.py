"""Runs the command line in forks of a process that has imported it: most of a refused build's time is Beam's import."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from corner_shop import Finished, environment

_SERVER = """
import json, os, sys
import heterrec_pipeline.building, heterrec_pipeline.commands, heterrec_pipeline.commands.build_display
from heterrec_pipeline.__main__ import main

for line in sys.stdin:
    call = json.loads(line)
    if (child := os.fork()) == 0:
        for number, name in enumerate((os.devnull, call["out"], call["err"])):
            handle = os.open(name, os.O_RDWR | os.O_CREAT)
            os.dup2(handle, number)
            os.close(handle)
        sys.argv[1:] = call["arguments"]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmCommands:
    """Processes that have imported the command line and fork for every call; each call has a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[subprocess.Popen[str]] = []
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def __call__(self, *arguments: object) -> Finished:
        """Run the command line to its end; threads may call at the same time."""
        try:
            server = self._idle.get_nowait()
        except Empty:
            server = self._started()
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            out, err = Path(name) / "out", Path(name) / "err"
            call = {"arguments": list(map(str, arguments)), "out": str(out), "err": str(err)}
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(call) + "\n")
            server.stdin.flush()
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
        )
        self._servers.append(server)
        return server

    def close(self) -> None:
        """End the processes."""
        for server in self._servers:
            with server:  # closes its pipes and waits
                pass


@contextmanager
def warm_commands(folder: Path) -> Iterator[WarmCommands]:
    """Commands for the block, with their output in files below a folder."""
    commands = WarmCommands(folder)
    try:
        yield commands
    finally:
        commands.close()
