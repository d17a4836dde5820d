"""What is measured between two lines of the log: sums that survive a resume, and clocks that need not."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class Meter:
    """Means over the steps since the last line.

    The sums are part of a checkpoint, so that a resumed run writes the lines of one that was left alone.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._counts: dict[str, float] = {}
        self._waited = 0.0
        self._since = time.monotonic()

    def add(self, values: Mapping[str, float]) -> None:
        """Take in a step's values by name; those that are not finite do not count."""
        for name, value in values.items():
            if math.isfinite(value):
                entry = self._sums.setdefault(name, [0.0, 0.0])
                entry[0] += value
                entry[1] += 1.0

    def count(self, **counts: float) -> None:
        """Count things that become so many a second."""
        for name, value in counts.items():
            self._counts[name] = self._counts.get(name, 0.0) + value

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time that is spent waiting for data."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is no training: validation and checkpoints."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - start

    def means(self) -> dict[str, list[float]]:
        """[sum, weight] by name."""
        return {name: list(entry) for name, entry in self._sums.items()}

    def rates(self) -> dict[str, float]:
        """Counts a second, and the share of the time that data was waited for."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        rates = {f"{name}_per_second": count / seconds for name, count in self._counts.items()}
        return {**rates, "data_wait": min(1.0, self._waited / seconds)}

    def reset(self) -> None:
        """Begin a new line."""
        self._sums, self._counts, self._waited = {}, {}, 0.0
        self._since = time.monotonic()

    def state(self) -> dict[str, Any]:
        """The sums, for a checkpoint."""
        return {"sums": self.means()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's sums."""
        self.reset()
        self._sums = {name: list(entry) for name, entry in state["sums"].items()}


def line_of(parts: list[tuple[dict[str, list[float]], dict[str, float]]]) -> dict[str, Any]:
    """What the log says of some steps, from every rank's `means()` and `rates()`.

    A name with a blank in it, `terms item_step1`, becomes a place in an inner mapping. Rates of the ranks add up; the
    share of waiting is their mean.
    """
    body: dict[str, Any] = {}
    for name, value in merged([means for means, _ in parts]).items():
        kind, _, inner = name.partition(" ")
        if inner:
            body.setdefault(kind, {})[inner] = value
        else:
            body[kind] = value
    for name in parts[0][1]:
        total = sum(rates.get(name, 0.0) for _, rates in parts)
        body[name] = round(total / len(parts) if name == "data_wait" else total, 3)
    return body


def merged(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Means by name over the [sum, weight] of several ranks."""
    total: dict[str, list[float]] = {}
    for part in parts:
        for name, (value, weight) in part.items():
            entry = total.setdefault(name, [0.0, 0.0])
            entry[0] += value
            entry[1] += weight
    return {name: value / weight for name, (value, weight) in total.items() if weight}
