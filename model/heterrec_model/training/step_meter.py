"""Averages and rates between two lines of the log."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class StepMeter:
    """Averages over the steps since the last line, and rates per second.

    The sums are part of a checkpoint, so a resumed run writes the same lines as an uninterrupted one; clocks are not.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self.reset()

    def add(self, values: Mapping[str, float]) -> None:
        """Add the values of a step by name; values that are not finite are ignored."""
        for name, value in values.items():
            if math.isfinite(value):
                entry = self._sums.setdefault(name, [0.0, 0.0])
                entry[0] += value
                entry[1] += 1.0

    def count(self, **counts: float) -> None:
        """Add to counts that are reported per second."""
        for name, value in counts.items():
            self._counts[name] = self._counts.get(name, 0.0) + value

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure time spent waiting for data."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude time from the rates: validation and checkpoints."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - start

    def sums(self) -> dict[str, list[float]]:
        """[sum, weight] by name."""
        return {name: list(entry) for name, entry in self._sums.items()}

    def rates(self) -> dict[str, float]:
        """Counts per second, and the share of time spent waiting for data."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        rates = {f"{name}_per_second": count / seconds for name, count in self._counts.items()}
        return {**rates, "data_wait": min(1.0, self._waited / seconds)}

    def reset(self, sums: Mapping[str, list[float]] | None = None) -> None:
        """Start a new line, or continue one from the sums of a checkpoint."""
        self._sums = {name: list(entry) for name, entry in (sums or {}).items()}
        self._counts: dict[str, float] = {}
        self._waited, self._since = 0.0, time.monotonic()


def log_line(parts: list[tuple[dict[str, list[float]], dict[str, float]]]) -> dict[str, Any]:
    """A line of the log from the `sums()` and `rates()` of every rank.

    A name with a blank, such as `terms item_step1`, becomes a key of an inner mapping. Rates are added over ranks; the
    share of waiting is averaged.
    """
    body: dict[str, Any] = {}
    for name, value in weighted_means([sums for sums, _ in parts]).items():
        kind, _, inner = name.partition(" ")
        if inner:
            body.setdefault(kind, {})[inner] = value
        else:
            body[kind] = value
    for name in parts[0][1]:
        total = sum(rates.get(name, 0.0) for _, rates in parts)
        body[name] = round(total / len(parts) if name == "data_wait" else total, 3)
    return body


def weighted_means(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Averages by name over the [sum, weight] of several ranks."""
    totals: dict[str, list[float]] = {}
    for part in parts:
        for name, (value, weight) in part.items():
            entry = totals.setdefault(name, [0.0, 0.0])
            entry[0] += value
            entry[1] += weight
    return {name: value / weight for name, (value, weight) in totals.items() if weight}
