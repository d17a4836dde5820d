"""What metrics.jsonl says about a run: its newest lines for the live table, its gates for the rows."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heterrec_model.two_tower import OPEN_GATES

_TAIL_BYTES = 65_536
GATE_LINES = 10
"""Number of the last training lines over which the share of open gates is averaged."""


def log_lines(path: Path) -> Iterator[dict[str, Any]]:
    """All complete lines of a log; none if it does not exist."""
    try:
        with path.open("rb") as file:
            yield from _parsed(file)
    except OSError:
        return


def last_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The newest line of each kind, such as train and validation, near the end of the log."""
    return {str(line["kind"]): line for line in _tail(path)}


def open_gates(path: Path) -> dict[str, float]:
    """The share of open positions by gate of Eq. 11, averaged over the last lines of the log."""
    shares: dict[str, list[float]] = {}
    lines = [line for line in _tail(path) if line["kind"] == "train"]
    for line in lines[-GATE_LINES:]:
        for name, share in line.get("metrics", {}).items():
            if name.startswith(OPEN_GATES) and share is not None:
                shares.setdefault(name.removeprefix(OPEN_GATES), []).append(share)
    return {gate: round(sum(values) / len(values), 4) for gate, values in sorted(shares.items())}


def _tail(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines in the last bytes of a log; none if it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return
    lines = data.splitlines()
    yield from _parsed(lines[1:] if size > _TAIL_BYTES else lines)


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            body = json.loads(line)
        except ValueError:
            continue  # being written
        if isinstance(body, dict) and "kind" in body:
            yield body
