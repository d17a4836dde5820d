"""The progress of a study: a live table on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from heterrec_model.progress_display import duration
from heterrec_model.runs.run_folder import METRICS
from heterrec_model.studies.run_logs import last_lines
from heterrec_model.studies.states import IN_PROGRESS, RunState

LINE_EVERY_S = 60.0
"""Seconds between plain lines about a run in progress."""
_LIVE_EVERY_S = 0.5
_LAST = 8
"""Number of the newest finished runs in the live table."""


class LiveTable:
    """Shows the runs in progress; nothing without a console."""

    def __init__(self, console: Console | None, states: Sequence[RunState]) -> None:
        self._console, self._states = console, states
        self._live: Live | None = None
        self._shown = 0.0
        self._lines: dict[str, float] = {}
        self._finished: list[RunState] = []

    def __enter__(self) -> Self:
        if self._console is not None:
            self._print(self._summary())
            if self._console.is_terminal:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, state: RunState) -> None:
        """Show that the state of a run has changed."""
        over = state.state in ("done", "failed", "stopped")
        if over:
            self._finished.append(state)
        if self._live is None and (over or state.state == "training"):
            self._line(state)
        elif state.state == "failed":
            self._print(f"{state.name}: failed: {state.message}")

    def refresh(self) -> None:
        """Show how far the runs are, unless that was done a moment ago."""
        now = time.monotonic()
        if self._live is not None:
            if now - self._shown >= _LIVE_EVERY_S:
                self._shown = now
                self._live.update(self._table(), refresh=True)
        elif self._console is not None:
            for state in self._states:
                last = self._lines.get(state.name)
                if state.state in IN_PROGRESS and last is not None and now - last >= LINE_EVERY_S:
                    self._line(state)

    def _line(self, state: RunState) -> None:
        self._lines[state.name] = time.monotonic()
        if state.state == "failed":
            text = f"failed: {state.message}"
        else:
            parts = [state.state, *(part for part in _figures(state) if part)]
            text = ", ".join([*parts, duration(state.seconds)])
        if state.state in ("done", "failed"):
            text += f" ({self._summary()})"
        self._print(f"{state.name}: {text}")

    def _summary(self) -> str:
        named = ("running" if s.state in IN_PROGRESS else s.state for s in self._states)
        parts = [f"{count} {state}" for state, count in Counter(named).items()]
        return f"{len(self._states)} runs: {', '.join(parts)}"

    def _print(self, line: str) -> None:
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Any:
        table = Table(box=box.SIMPLE, pad_edge=False)
        for column in ("data", "run", "state", "step, epoch", "validation", "elapsed"):
            table.add_column(
                column, no_wrap=True, justify="right" if column == "elapsed" else "left"
            )
        running = [state for state in self._states if state.state in IN_PROGRESS]
        for state in [*self._finished[-_LAST:], *running]:
            figures = _figures(state)
            cells = (state.planned.data, state.planned.name, state.state, *figures)
            table.add_row(*map(Text, cells), Text(duration(state.seconds)))
        return Group(table, Text(self._summary()))


def _figures(state: RunState) -> tuple[str, str]:
    """Step and epoch, and the newest validation metric, as the log of the run states them."""
    if state.planned.seed is None:
        return "", ""
    lines, train = last_lines(state.folder / METRICS), state.planned.config.train
    place = metric = ""
    if newest := lines.get("train"):
        total = train.epochs + train.refit_epochs
        place = f"step {newest['step']:,}, epoch {min(newest['epoch'] + 1, total)} of {total}"
    if validation := lines.get("validation"):
        value = validation.get("metrics", {}).get(train.metric)
        metric = "" if value is None else f"{train.metric} {value:.4f}"
    return place, metric
