"""The progress line: the stage at work, the share of it that is done and the time left in it, and the rows so far."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from heterrec_pipeline.telemetry.beam_metrics import Numbers
from heterrec_pipeline.telemetry.recorder import RECORDER, Snapshot

_ROWS_READ = ("rows", "read")
"""Last part of the counters of rows read: `<table>.rows` and `interactions.read`."""
LEAST_SHARE, LEAST_SECONDS = 0.05, 2.0
"""Share of a stage and seconds that must have passed before a time left is shown."""
MOST_SHARE = 0.99
"""Largest share shown: totals are estimates, and a stage at work is not complete."""
Expected = Mapping[str, tuple[int, int]]
"""By table, its approximate number of rows, and how often a build reads them."""


class ProgressLine:
    """The progress line of a build, from the records of this process and its workers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a stage; `clock` returns seconds."""
        self._clock = clock
        self._first: dict[str, tuple[float, float]] = {}
        """Time and share at which each stage was first seen at work."""

    def text(self) -> str:
        """The line now: a stage that is at work, else the stage or phase that began last."""
        found, expected = RECORDER.progress(), RECORDER.expected
        line = stage_at_work(found, expected) or found.activity or "starting"
        share = stage_share(line, found, expected)
        if share is not None:
            line += f" {share:.0%}{self._left(line, share)}"
        done = _rows(found)
        return line + (f"  ({', '.join(done)})" if done else "")

    def _left(self, stage: str, share: float) -> str:
        """The time left in a stage, by its pace since it was first seen."""
        now = self._clock()
        then, before = self._first.setdefault(stage, (now, share))
        if share - before < LEAST_SHARE or now - then < LEAST_SECONDS:
            return ""
        return (
            f", about {duration((1 - share) * (now - then) / (share - before))} left in this stage"
        )


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _rows(found: Snapshot) -> list[str]:
    done = []
    for name, count in found.counters.items():
        table, _, counted = name.rpartition(".")
        if counted in _ROWS_READ and table != "files":
            done.append(f"{table} {count:,} read")
    return done + [f"{table} {rows:,} written" for table, rows in found.written.items() if rows]


def stage_at_work(found: Snapshot, expected: Expected) -> str | None:
    """The stage with the most threads inside it; of several, one whose share is known, then the one that began last."""
    threads, begun = Counter(found.working), list(found.stages)
    return max(
        threads,
        key=lambda s: (
            threads[s],
            stage_share(s, found, expected) is not None,
            begun.index(s) if s in begun else -1,
        ),
        default=None,
    )


def stage_share(stage: str, found: Snapshot, expected: Expected) -> float | None:
    """The share of a stage's rows that are done; None where their number is unknown, and for a phase.

    A stage reads rows of the input, whose number is known or estimated, or fetches rows that an earlier one has spilled.
    """
    done, total = rows_done(stage, found, expected)
    return min(MOST_SHARE, done / total) if done and total > 0 else None


def rows_done(stage: str, found: Snapshot, expected: Expected) -> tuple[int, int]:
    """Rows that a stage has read, fetched or written so far, and their total number; 0 where it is unknown."""
    mine = found.stages.get(stage, {})
    read, fetched, spilled = (mine.get(f"rows_{k}", 0) for k in ("read", "fetched", "spilled"))
    log, _ = expected.get("interactions", (0, 0))
    if stage == "Items from the log":
        return read + fetched, max(read, log) + spilled
    if stage == "Log":
        return read, log
    if stage == "Catalogue":
        items = found.written.get("items", 0)
        rows = _rows_to_read("items", found.counters, expected)
        return read + items, rows + found.counters.get("items.rows", 0) if rows else 0
    if stage == "Users":
        return read, _rows_to_read("users", found.counters, expected)
    if stage == "Histories":
        return fetched, _shuffled(found.counters)
    if stage == "Splits":
        histories = found.stages.get("Histories", {})
        return fetched, histories.get("rows_spilled", 0) - histories.get("rows_fetched", 0)
    if stage == "Sequences":
        return fetched, spilled + found.stages.get("Splits", {}).get("rows_spilled", 0)
    return 0, 0


def _rows_to_read(side: str, counters: Numbers, expected: Expected) -> int:
    """Rows of all readings of the tables of a side: items with the joined tables, or users."""
    return sum(
        max(rows, counters.get(f"{table}.rows", 0)) * readings
        for table, (rows, readings) in expected.items()
        if table.partition(".")[0] == side
    )


def _shuffled(counters: Numbers) -> int:
    """Rows of the log that are grouped by user."""
    lost = ("malformed", "bad", "unknown_item")
    read = counters.get("interactions.read", 0)
    return read - sum(counters.get(f"interactions.{name}", 0) for name in lost)
