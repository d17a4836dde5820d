"""Commands of which one call that changes a file is spoilt: `faults.c`, compiled, and its plans."""

import errno
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from warm_command import Finished, Running, WarmCommands, warm_commands

SOURCE = Path(__file__).resolve().with_name("faults.c")
PLAN = struct.Struct(f"=8q{os.pathconf('/', 'PC_PATH_MAX')}s{os.pathconf('/', 'PC_PATH_MAX')}s")
"""calls, at, kind, error, leader, shift, step, happened, folder, log: as in `struct plan` of `faults.c`."""
SHIFT = 5
"""Place of the clock's error, in seconds, among the numbers of a plan."""


class Kind(IntEnum):
    """What happens to a call, as numbered in `faults.c`."""

    NOTHING = 0
    KILL_BEFORE = 1
    KILL_AFTER = 2
    KILL_HALF = 3
    FAIL_ONCE = 4
    FAIL_ON = 5
    SHORT = 6
    SLOW = 7
    STEP = 8


KILLS = (Kind.KILL_BEFORE, Kind.KILL_AFTER, Kind.KILL_HALF)


class Call(NamedTuple):
    """A call that changes a file: the name of the function, and the path."""

    name: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What happens to one call of a command.

    Attributes:
        kind: what happens.
        at: the number of the call, from 1.
        error: the error of calls that fail.
        shift: seconds by which the clock is wrong from the beginning.
        step: seconds by which the clock jumps at a call of the kind STEP.
    """

    kind: Kind = Kind.NOTHING
    at: int = 0
    error: int = 0
    shift: int = 0
    step: int = 0

    def __str__(self) -> str:
        words = [self.kind.name, f"call {self.at}"]
        words += [errno.errorcode[self.error]] if self.error else []
        words += [f"clock {self.shift:+,}, {self.step:+,} s"] if self.shift or self.step else []
        return " ".join(words)


NO_FAULT = Fault()


@dataclass
class Ended:
    """A command that ran under a plan.

    Attributes:
        done: its end.
        calls: number of its calls that changed files.
        happened: whether the fault came to pass.
        log: the calls, if they were asked for.
    """

    done: Finished
    calls: int
    happened: bool
    log: list[Call] = field(default_factory=list)


@cache
def library() -> str:
    """The compiled library; the test is skipped where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if os.uname().sysname != "Linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler (cc): on Debian apt install gcc libc6-dev")
    path = Path(tempfile.mkdtemp(prefix="heterrec-faults-")) / "faults.so"
    flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    made = subprocess.run(
        [compiler, *flags, "-o", str(path), str(SOURCE), "-ldl"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return str(path)


def commands(package: str) -> WarmCommands:
    """The command lines of a package with the library in their processes."""
    return warm_commands(package, LD_PRELOAD=library())


class Plan:
    """A plan's file: what happens, and what has happened."""

    def __init__(self, path: Path, folder: Path, fault: Fault, *, log: bool = False) -> None:
        self.path, self.log_path = path, path.with_suffix(".log")
        numbers = (0, fault.at, fault.kind, fault.error, 0, fault.shift, fault.step, 0)
        where = os.fsencode(folder), os.fsencode(self.log_path) if log else b""
        path.write_bytes(PLAN.pack(*numbers, *where))

    def numbers(self) -> tuple[int, ...]:
        return PLAN.unpack(self.path.read_bytes())[:8]

    def set_clock(self, seconds: int) -> None:
        """Let the clock of the processes be wrong by some seconds from now on."""
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), PLAN.size) as held:
            struct.pack_into("=q", held, SHIFT * 8, seconds)

    def calls(self) -> list[Call]:
        lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
        return [Call(*line.split(" ", 1)) for line in lines]


@contextmanager
def started(
    package: str, arguments: list[str], folder: Path, fault: Fault, *, log: bool = False
) -> Iterator[tuple[Running, Plan]]:
    """A command that runs under a plan.

    Args:
        package: heterrec_pipeline or heterrec_model.
        arguments: of the command line.
        folder: calls that change something there or below are counted.
        fault: what happens to one of them.
        log: whether to note each call.
    """
    with tempfile.TemporaryDirectory(prefix="heterrec-plan-") as place:
        plan = Plan(Path(place) / "plan", folder.resolve(), fault, log=log)
        yield commands(package).start(*arguments, HETERREC_FAULTS=str(plan.path)), plan


def run(
    package: str, arguments: list[str], folder: Path, fault: Fault = NO_FAULT, *, log: bool = False
) -> Ended:
    """Run a command to its end under a plan; arguments as in `started`."""
    with started(package, arguments, folder, fault, log=log) as (running, plan):
        try:
            out, err = running.communicate(300)
        except BaseException:
            running.kill()
            running.wait(10)
            raise
        calls, happened = plan.numbers()[0], bool(plan.numbers()[7])
        return Ended(Finished(running.wait(), out, err), calls, happened, plan.calls())
