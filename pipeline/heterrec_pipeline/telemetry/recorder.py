"""The one channel for reports: counts, rows moved, calls of steps and phases of the caller.

Beam's counters, the stages of `--json` and `--log-json`, the spans of a trace and the progress line all come from these
records. Steps record per batch, never per row.

A call of a step lasts until its outputs are taken. Another step often takes them on the same thread, inside the call. So
calls nest, as in a flame graph; the `busy` time of a call excludes the calls inside it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from heterrec_pipeline.telemetry import beam_metrics
from heterrec_pipeline.telemetry.beam_metrics import FIRST, LAST, Numbers
from heterrec_pipeline.telemetry.span_file import SpanFile, now_ns

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
T = TypeVar("T")


class StepInfo(NamedTuple):
    """The name of a step and the build that it belongs to; travels to the workers.

    Attributes:
        stage: the transform of `flow.py` that contains the step.
        step: full name, starting with the stage.
        began_ns: when the build began.
        folder: where the span files of a trace go, or None.
    """

    stage: str
    step: str
    began_ns: int
    folder: str | None = None


@dataclass(eq=False)
class _Call:
    info: StepInfo
    start_ns: int
    inside_ns: int = 0


class _Thread(threading.local):
    """The open calls of this thread, innermost last, and the thread's name in a trace."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.lane: str | None = None


_THREAD = _Thread()


class Snapshot(NamedTuple):
    """What a process has recorded so far: see `Recorder`; `working` has one stage per thread that is inside a step."""

    activity: str
    counters: Numbers
    written: Numbers
    stages: dict[str, Numbers]
    working: list[str]


@dataclass
class Recorder:
    """The records of one build in this process. Thread-safe.

    Attributes:
        began_ns: when the build began; identifies it.
        activity: the stage or phase that began last.
        counters: counts by name.
        stages: numbers by stage.
        written: rows of the generation by table.
        working: the stage of the outermost open call of each thread inside a step.
        expected: by table, its approximate number of rows, and how often a build reads them.
        span_file: takes the spans, if a trace was requested.
        workers: the last snapshot of each worker process on this machine, by process id.
    """

    began_ns: int = 0
    activity: str = ""
    counters: Numbers = field(default_factory=dict)
    stages: dict[str, Numbers] = field(default_factory=dict)
    written: Numbers = field(default_factory=dict)
    working: dict[int, str] = field(default_factory=dict)
    expected: dict[str, tuple[int, int]] = field(default_factory=dict)
    span_file: SpanFile | None = None
    workers: dict[int, Snapshot] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _on_stage: Callable[[str], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(
        self,
        began_ns: int,
        folder: str | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> None:
        """Discard all records and begin a build; `on_stage` is called with each stage that begins in this process."""
        with self._lock:
            self._renew(began_ns, folder)
            self._on_stage = on_stage

    def _renew(self, began_ns: int, folder: str | None) -> None:
        self.began_ns = began_ns
        self.activity = ""
        self.counters, self.stages, self.written = {}, {}, {}
        self.working, self.expected = {}, {}
        self.span_file = SpanFile(folder, began_ns) if folder else None
        self.workers, self._begun = {}, set()
        self._on_stage = None

    def expect(self, expected: dict[str, tuple[int, int]]) -> None:
        """Set `expected`."""
        with self._lock:
            self.expected = dict(expected)

    def enter(self, info: StepInfo, *, inside: bool) -> None:
        """Record that a step is called, inside another's call or not. A worker's first call of a build begins that build."""
        with self._lock:
            if info.began_ns != self.began_ns:
                self._renew(info.began_ns, info.folder)
            self.stages.setdefault(info.stage, {})
            if not inside:
                self.activity = self.working[threading.get_ident()] = info.stage
        self._begin_stages([info.stage])

    def leave(self) -> None:
        """Record that the outermost call of this thread has ended."""
        with self._lock:
            self.working.pop(threading.get_ident(), None)

    def _begin_stages(self, stages: Iterable[str]) -> None:
        """Report stages that begin, once each."""
        with self._lock:
            begun = [stage for stage in stages if stage not in self._begun]
            self._begun.update(begun)
            on_stage = self._on_stage
        if on_stage is not None:
            for stage in begun:
                on_stage(stage)

    def update_worker(self, process: int, snapshot: Snapshot) -> None:
        """Take over what a worker process on this machine has recorded."""
        with self._lock:
            self.workers[process] = snapshot
            self.activity = snapshot.activity or self.activity
        self._begin_stages(snapshot.stages)

    def snapshot(self) -> Snapshot:
        """A copy of the records of this process alone."""
        with self._lock:
            return Snapshot(
                self.activity,
                dict(self.counters),
                dict(self.written),
                {stage: dict(numbers) for stage, numbers in self.stages.items()},
                sorted(self.working.values()),
            )

    def show(self, activity: str) -> None:
        """Set what the progress line says until the next step or phase."""
        with self._lock:
            self.activity = activity

    def count(self, name: str, value: int) -> None:
        """Add to a counter, here and in Beam's metrics."""
        with self._lock:
            self.counters[name] = self.counters.get(name, 0) + value
        beam_metrics.add(name, value)

    def add(self, stage: str, numbers: Numbers, written: str = "") -> None:
        """Add to the numbers of a stage, here and in Beam's metrics.

        Args:
            stage: the stage.
            numbers: by name.
            written: the table of the generation to which the rows were written, if they were.
        """
        with self._lock:
            mine = self.stages.setdefault(stage, {})
            for name, value in numbers.items():
                mine[name] = mine.get(name, 0) + value
            if written:
                rows = self.written.get(written, 0)
                self.written[written] = rows + numbers[f"rows_{WRITTEN}"]
        beam_metrics.add_to_stage(stage, numbers)

    def add_call(self, stage: str, first_ms: int, last_ms: int) -> None:
        """Add a call of a stage's step, in milliseconds since the build began."""
        with self._lock:
            mine = self.stages.setdefault(stage, {})
            mine[FIRST] = min(mine.get(FIRST, first_ms), first_ms)
            mine[LAST] = max(mine.get(LAST, last_ms), last_ms)
        beam_metrics.add_call(stage, first_ms, last_ms)

    def draw(self, name: str, kind: str, start_ns: int, end_ns: int, args: dict[str, Any]) -> None:
        """Add a span of this thread to the trace, if one was requested."""
        if self.span_file is not None:
            lane = _THREAD.lane or threading.current_thread().name
            self.span_file.add(lane, name, kind, start_ns, end_ns, args)

    def progress(self) -> Snapshot:
        """What this process and its workers have recorded, added up."""
        total = self.snapshot()
        for worker in list(self.workers.values()):
            _add(total.counters, worker.counters)
            _add(total.written, worker.written)
            for stage, numbers in worker.stages.items():
                _add(total.stages.setdefault(stage, {}), numbers)
            total.working.extend(worker.working)
        return total


def _add(total: Numbers, part: Numbers) -> None:
    for name, value in part.items():
        total[name] = total.get(name, 0) + value


RECORDER = Recorder()


@contextmanager
def record_call(info: StepInfo | None, call: str, element: object = None) -> Iterator[None]:
    """Record a call of a step; nothing without `info`, as in a test of one step."""
    if info is None:
        yield
        return
    calls = _THREAD.calls
    if calls and calls[-1].info.began_ns != info.began_ns:
        calls.clear()  # left by a build that failed
    RECORDER.enter(info, inside=bool(calls))
    mine = _Call(info, now_ns())
    calls.append(mine)
    try:
        yield
    finally:
        calls = _THREAD.calls
        if mine in calls:  # else another thread has closed the generator, long after a failure
            del calls[calls.index(mine) :]
            _end_call(mine, call, element, calls[-1] if calls else None)


def _end_call(mine: _Call, call: str, element: object, outer: _Call | None) -> None:
    info = mine.info
    took = now_ns() - mine.start_ns
    if outer is None:
        RECORDER.leave()
    else:
        outer.inside_ns += took
    RECORDER.add(info.stage, {BUSY: (took - mine.inside_ns) // 1000})
    first_ms = (mine.start_ns - info.began_ns) // 10**6
    RECORDER.add_call(info.stage, first_ms, first_ms + took // 10**6)
    if RECORDER.span_file is not None:
        name = info.step if call == "process" else f"{info.step}: {call}"
        RECORDER.draw(name, "step", mine.start_ns, mine.start_ns + took, _size(element))
        if outer is None:
            RECORDER.span_file.flush()


def _size(element: object) -> dict[str, int]:
    table = element[1] if isinstance(element, tuple) and len(element) == 2 else element
    return {"rows": len(table), "bytes": table.nbytes} if isinstance(table, pa.Table) else {}


@dataclass
class Moved:
    """Rows and bytes that a block has moved so far."""

    rows: int = 0
    bytes: int = 0

    def add(self, rows: int, nbytes: int) -> None:
        """Add rows and their size in bytes."""
        self.rows += rows
        self.bytes += nbytes


@contextmanager
def moving(kind: str, what: str, table: str = "") -> Iterator[Moved]:
    """Record a block inside a step that reads or writes rows: its stage gets what the block adds to `Moved`.

    Args:
        kind: one of `KINDS`.
        what: the name of the span in a trace.
        table: the table of the generation that the rows are written to.
    """
    calls = _THREAD.calls
    moved = Moved()
    start_ns = now_ns()
    yield moved
    if calls:
        stage = calls[-1].info.stage
        RECORDER.add(stage, {f"rows_{kind}": moved.rows, f"bytes_{kind}": moved.bytes}, table)
        RECORDER.draw(what, kind, start_ns, now_ns(), {"rows": moved.rows, "bytes": moved.bytes})


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Record a phase of the caller: before, while and after the graph runs."""
    start_ns = now_ns()
    RECORDER.show(name)
    try:
        yield
    finally:
        RECORDER.draw(name, "build", start_ns, now_ns(), {})
        if RECORDER.span_file is not None:
            RECORDER.span_file.flush()


def lane() -> str | None:
    """The name of this thread in the trace; None outside of steps, or without a trace."""
    if not _THREAD.calls or RECORDER.span_file is None:
        return None
    return _THREAD.lane or threading.current_thread().name


def ahead(source: Iterable[T], of: str | None) -> Iterator[T]:
    """The elements of `source`, made by a thread that helps a step and has a lane of its own in the trace.

    Args:
        source: makes the elements.
        of: the step's lane, or None without a trace.
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
        RECORDER.draw("read ahead", "ahead", start_ns, now_ns(), {})
        yield element
