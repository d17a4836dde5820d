"""Numbered cases of an attack: as many as are stated, or as many as fit into a time; any of them can be run alone."""

import os
import random
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Case = Callable[[random.Random], str]
"""Runs a case, which depends on the numbers it draws only; returns in a word how it ended. Raises AssertionError."""

SECONDS = float(os.environ.get("HETERREC_ATTACK") or 0)
"""Seconds of all attacks together, with a new seed each time; 0: the stated numbers of cases, with the same seed."""
SEED = os.environ.get("HETERREC_ATTACK_SEED") or "1"
TRAIL = os.environ.get("HETERREC_ATTACK_TRAIL")
"""A file for the numbers of the cases that were begun, for a case that ends the process."""
ONLY = os.environ.get("HETERREC_ATTACK_CASE")
"""The number of the only case to run."""
MAX_FINDINGS = 8
"""Kinds of failures after which a test stops."""


@dataclass
class Attack:
    """The cases of one test: `attack(case)` runs them and fails if any of them failed."""

    name: str
    """Of the test, as in `tests/attack/test_specs.py::test_specs`."""
    cases: int
    """How many run where no time is given."""
    limit: float
    """Seconds that a case may take."""
    seconds: float
    """This test's part of the time."""
    memory: int | None = None
    """Bytes that a case may take in this process, beside what the process has; None for any."""
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)
    """The first failure of each kind: those of one place that differ in numbers only are of one kind."""

    def __call__(self, case: Case) -> None:
        for number in self._numbers():
            if TRAIL:
                Path(TRAIL).write_text(f"{self.name} {number}\n")
            try:
                with time_limit(self.limit), memory_limit(self.memory):
                    outcome = case(random.Random(f"{self.name}/{SEED}/{number}"))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.outcomes["FAILED"] += 1
                text = f"{type(error).__name__}: {str(error)[:4000]}\n{_place(error)}"
                self.findings.setdefault(
                    re.sub(r"\d+", "0", text[:100] + _place(error)),
                    f"{text}\nRepeat it: HETERREC_ATTACK_SEED={SEED} HETERREC_ATTACK_CASE={number}"
                    f" .venv/bin/python -m pytest '{self.name}'",
                )
                if ONLY:
                    raise
                if len(self.findings) == MAX_FINDINGS:
                    break
            else:
                self.outcomes[outcome] += 1
        assert not self.findings, "\n\n".join(["", *self.findings.values()])

    def _numbers(self) -> Iterator[int]:
        if ONLY:
            yield int(ONLY)
            return
        begun, number = time.monotonic(), 0
        while time.monotonic() - begun < self.seconds if SECONDS else number < self.cases:
            yield number
            number += 1

    def summary(self) -> str:
        """For the end of the output: how many cases ended how."""
        ended = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(self.outcomes.items()))
        return f"{self.name}: {self.outcomes.total():,} cases ({ended})"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer, at its next instruction of Python."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"the case took more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(size: int | None) -> Iterator[None]:
    """Let the process have so many bytes more in a block; a library of Rust ends the process that cannot have them."""
    if size is None:
        yield
        return
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _place(error: BaseException) -> str:
    """The innermost lines of a traceback."""
    lines: list[str] = []
    trace = error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return "\n".join(lines[-6:])
