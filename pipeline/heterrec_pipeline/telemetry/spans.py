"""What steps do and how long it takes: numbers a stage always, and spans when a trace was asked for.

A step's call lasts until its outputs are taken, and what takes them may be another step, on the same thread, inside it. So
calls nest, as in a flame graph; `busy` is a call's own time, without the steps inside it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from heterrec_pipeline.telemetry import metrics
from heterrec_pipeline.telemetry.metrics import FIRST, LAST, Numbers
from heterrec_pipeline.telemetry.pieces import Piece, now_ns

READ = "read"
"""Rows of the input."""
SPILLED = "spilled"
"""Rows handed to a later step by file."""
FETCHED = "fetched"
"""Rows taken from such a file."""
WRITTEN = "written"
"""Rows of the generation."""
KINDS = (READ, SPILLED, FETCHED, WRITTEN)
BUSY = "busy_us"
StageBegan = Callable[[str], None]
T = TypeVar("T")


class Watch(NamedTuple):
    """What a step knows of the build that it belongs to; it travels to the workers.

    Attributes:
        stage: one of the transforms that `flow.py` shows.
        step: its name, the stage in front.
        began_ns: when the build began.
        folder: where the pieces of a trace go, or None.
    """

    stage: str
    step: str
    began_ns: int
    folder: str | None = None


@dataclass(eq=False)
class _Call:
    watch: Watch
    start_ns: int
    inside_ns: int = 0


class _Thread(threading.local):
    """The calls that this thread is in, the innermost last; and what it is called in a trace."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.lane: str | None = None


_THREAD = _Thread()


@dataclass
class Recorder:
    """What this process has seen of a build: numbers by stage. Safe to use from several threads."""

    began_ns: int = 0
    stages: dict[str, Numbers] = field(default_factory=dict)
    piece: Piece | None = None
    _began: StageBegan | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(
        self, began_ns: int, folder: str | None = None, stage_began: StageBegan | None = None
    ) -> None:
        """Begin anew. `stage_began` is told of every stage that begins to work in this process."""
        with self._lock:
            self._renew(began_ns, folder)
            self._began = stage_began

    def _renew(self, began_ns: int, folder: str | None) -> None:
        self.began_ns = began_ns
        self.stages = {}
        self.piece = Piece(folder, began_ns) if folder else None
        self._began = None

    def entered(self, watch: Watch) -> None:
        """A step is called; the first of a build that this process has not heard of begins it."""
        told = None
        with self._lock:
            if watch.began_ns != self.began_ns:
                self._renew(watch.began_ns, watch.folder)
            if watch.stage not in self.stages:
                self.stages[watch.stage] = {}
                told = self._began
        if told is not None:
            told(watch.stage)

    def add(self, stage: str, numbers: Numbers) -> None:
        """Add to a stage's numbers, here and in Beam's counters."""
        with self._lock:
            mine = self.stages.setdefault(stage, {})
            for name, value in numbers.items():
                mine[name] = mine.get(name, 0) + value
        metrics.count_stage(stage, numbers)

    def seen_at(self, stage: str, first_ms: int, last_ms: int) -> None:
        """A call of a stage's step, in milliseconds since the build began."""
        with self._lock:
            mine = self.stages.setdefault(stage, {})
            mine[FIRST] = min(mine.get(FIRST, first_ms), first_ms)
            mine[LAST] = max(mine.get(LAST, last_ms), last_ms)
        metrics.seen_at(stage, first_ms, last_ms)

    def draw(self, name: str, kind: str, start_ns: int, args: dict[str, Any]) -> None:
        """Keep a span of this thread for the trace, if there is to be one."""
        if self.piece is not None:
            lane = _THREAD.lane or threading.current_thread().name
            self.piece.add(lane, name, kind, start_ns, now_ns(), args)


RECORDER = Recorder()


@contextmanager
def step(watch: Watch | None, call: str, element: object = None) -> Iterator[None]:
    """Around a call of a step; nothing without a watch, as in a test of one step."""
    if watch is None:
        yield
        return
    RECORDER.entered(watch)
    calls = _THREAD.calls
    if calls and calls[-1].watch.began_ns != watch.began_ns:
        calls.clear()  # of a build that has failed
    mine = _Call(watch, now_ns())
    calls.append(mine)
    try:
        yield
    finally:
        calls = _THREAD.calls
        if mine in calls:  # else another thread has thrown the call away, long after a failure
            del calls[calls.index(mine) :]
            _ended(mine, call, element, calls[-1] if calls else None)


def _ended(mine: _Call, call: str, element: object, outer: _Call | None) -> None:
    watch = mine.watch
    took = now_ns() - mine.start_ns
    if outer is not None:
        outer.inside_ns += took
    RECORDER.add(watch.stage, {BUSY: (took - mine.inside_ns) // 1000})
    first_ms = (mine.start_ns - watch.began_ns) // 10**6
    RECORDER.seen_at(watch.stage, first_ms, first_ms + took // 10**6)
    if RECORDER.piece is not None:
        name = watch.step if call == "process" else f"{watch.step}: {call}"
        RECORDER.draw(name, "step", mine.start_ns, _size(element))
        if outer is None:
            RECORDER.piece.flush()


def _size(element: object) -> dict[str, int]:
    table = element[1] if isinstance(element, tuple) and len(element) == 2 else element
    return {"rows": len(table), "bytes": table.nbytes} if isinstance(table, pa.Table) else {}


class Work:
    """Rows and bytes that were moved."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.rows = 0
        self.bytes = 0

    def add(self, rows: int, nbytes: int) -> None:
        """Some rows, and their size."""
        self.rows += rows
        self.bytes += nbytes


@contextmanager
def moving(kind: str, what: str) -> Iterator[Work]:
    """Around a reading or writing of rows, inside a step: its stage gets what the block adds to `Work`.

    Args:
        kind: one of `KINDS`.
        what: a few words for the trace.
    """
    calls = _THREAD.calls
    work = Work()
    start_ns = now_ns()
    yield work
    if calls:
        stage = calls[-1].watch.stage
        RECORDER.add(stage, {f"rows_{kind}": work.rows, f"bytes_{kind}": work.bytes})
        RECORDER.draw(what, kind, start_ns, {"rows": work.rows, "bytes": work.bytes})


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Around what the caller does before, while and after the graph runs."""
    start_ns = now_ns()
    try:
        yield
    finally:
        RECORDER.draw(name, "build", start_ns, {})
        if RECORDER.piece is not None:
            RECORDER.piece.flush()


def lane() -> str | None:
    """What this thread is called in a trace, inside a step of a build that draws one; else None."""
    if not _THREAD.calls or RECORDER.piece is None:
        return None
    return _THREAD.lane or threading.current_thread().name


def ahead(source: Iterable[T], of: str | None) -> Iterator[T]:
    """The same elements, made by a thread that helps a step: drawn on a lane of their own beside the step's.

    Args:
        source: makes the elements.
        of: the step's lane, or None where nothing is drawn.
    """
    if of is None:
        yield from source
        return
    _THREAD.lane = f"{of}, reading ahead"
    elements = iter(source)
    while True:
        start_ns = now_ns()
        try:
            element = next(elements)
        except StopIteration:
            return
        RECORDER.draw("read ahead", "ahead", start_ns, {})
        yield element
