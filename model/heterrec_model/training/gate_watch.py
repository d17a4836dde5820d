"""Watches the gates of Eq. 11 during a run, and reports those that are nearly always closed or open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from heterrec_model.two_tower import OPEN_GATES

WINDOW = 100
"""Steps over which the share of open positions is averaged."""
HEALTHY = (0.01, 0.99)
"""Range of healthy shares: below it a step adds nothing to the loss, above it the gate has no effect."""


@dataclass
class GateWatch:
    """The gates of a run, as plain JSON values; equal on every rank.

    Attributes:
        steps: steps of the current window so far.
        shares: by gate, the sum of its shares in the current window and the number of steps that had a position.
        stuck: by gate, `closed` or `open`: the gates that were not healthy in the last whole window.
    """

    steps: int = 0
    shares: dict[str, list[float]] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, float]) -> str | None:
        """Add the metrics of a step; at the end of a window, returns what has changed since the window before, or None."""
        for name, share in metrics.items():
            if name.startswith(OPEN_GATES) and math.isfinite(share):
                entry = self.shares.setdefault(name.removeprefix(OPEN_GATES), [0.0, 0.0])
                entry[0] += share
                entry[1] += 1
        self.steps += 1
        if self.steps < WINDOW:
            return None
        before, (low, high) = self.stuck, HEALTHY
        means = {gate: total / steps for gate, (total, steps) in self.shares.items()}
        self.stuck = {g: "closed" for g, share in means.items() if share < low}
        self.stuck |= {g: "open" for g, share in means.items() if share > high}
        self.steps, self.shares = 0, {}
        changed = {g: self.stuck.get(g) for g in means if self.stuck.get(g) != before.get(g)}
        return _message(changed) if changed else None


def _message(changed: Mapping[str, str | None]) -> str:
    low, high = HEALTHY
    words = {
        "closed": f"open at fewer than {low:.0%} of the positions, so these steps add nothing to the loss",
        "open": f"open at more than {high:.0%} of the positions, so the gate has no effect",
        None: "healthy again",
    }
    parts = []
    for state, text in words.items():
        if gates := [gate for gate, now in changed.items() if now == state]:
            parts.append(f"{text}: {', '.join(gates)}")
    return f"gates of the last {WINDOW} steps: {'; '.join(parts)}"
