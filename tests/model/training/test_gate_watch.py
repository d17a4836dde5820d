"""Gates that are nearly always closed or open are reported once, and once again when they recover."""

import json
import math
from dataclasses import asdict
from typing import Any

from heterrec_model.training import gate_watch
from heterrec_model.training.gate_watch import WINDOW, GateWatch
from heterrec_model.training.progress import Progress


def messages(*windows: dict[str, float], watch: GateWatch | None = None) -> list[str | None]:
    """What is said at the end of each window; nothing is said within one."""
    watch = watch or GateWatch()
    said = []
    for shares in windows:
        metrics = {f"open_gates/{gate}": share for gate, share in shares.items()}
        found = [watch.add({**metrics, "positions": 0.0}) for _ in range(WINDOW)]
        assert found[:-1] == [None] * (WINDOW - 1)
        said.append(found[-1])
    return said


def test_healthy_gates_are_not_mentioned() -> None:
    assert messages({"a": 0.01, "b": 0.5, "c": 0.99}) == [None]


def test_a_stuck_gate_is_reported_once_per_change() -> None:
    first, again, other, healthy = messages(
        {"a": 0.001, "b": 0.5, "c": 0.999},
        {"a": 0.0, "b": 0.5, "c": 1.0},
        {"a": 0.0, "b": 1.0, "c": 1.0},
        {"a": 0.2, "b": 1.0, "c": 1.0},
    )
    assert first is not None
    assert other is not None
    assert healthy is not None
    assert "fewer than 1% of the positions, so these steps add nothing to the loss: a;" in first
    assert first.endswith("more than 99% of the positions, so the gate has no effect: c")
    assert again is None
    assert other.endswith("no effect: b")
    assert "a" not in other.rpartition("effect:")[2]
    assert healthy.endswith("healthy again: a")


def test_the_mean_over_the_window_decides() -> None:
    watch = GateWatch()
    for step in range(WINDOW):
        watch.add({"open_gates/a": float(step % 2), "open_gates/b": float(step == 0) / 2})
    assert watch.stuck == {"b": "closed"}


def test_steps_without_a_position_do_not_count() -> None:
    watch = GateWatch()
    for step in range(WINDOW):
        watch.add({"open_gates/a": 0.5 if step == 3 else math.nan, "open_gates/b": math.nan})
    assert watch.stuck == {}


def test_a_resumed_watch_goes_on_in_its_window(monkeypatch: Any) -> None:
    monkeypatch.setattr(gate_watch, "WINDOW", 5)
    progress = Progress()
    for _ in range(3):
        progress.gates.add({"open_gates/a": 0.0})
    resumed = Progress(**json.loads(json.dumps(asdict(progress))))
    assert resumed == progress
    assert resumed.gates.add({"open_gates/a": 0.0}) is None
    assert resumed.gates.add({"open_gates/a": 0.0}) is not None
    assert resumed.gates.stuck == {"a": "closed"}
