"""A line of progress on the console while a command runs."""

import time
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

LIVE_EVERY = 0.2
"""Minimum seconds between updates of the live line."""
LINE_EVERY = 5.0
"""Minimum seconds between plain lines."""


class ProgressDisplay:
    """One live line on a terminal, plain lines every few seconds elsewhere, nothing without a console."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._status: Status | None = None
        self._shown = float("-inf")
        self._started = time.monotonic()
        self._from: float | None = None
        self._items = 0

    def __enter__(self) -> Self:
        if self._console is not None and self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, *, step: int, share: float, loss: float, items: int) -> None:
        """Show the progress of the run: `share` of it is done, 0 to 1; `loss` and `items` are those of the last step."""
        now = time.monotonic()
        if self._from is None:
            self._from, self._started = share, now
        else:
            self._items += items
        rate = self._items / max(now - self._started, 1e-9)
        done = share - self._from
        left = (now - self._started) * (1 - share) / done if done > 0 else None
        total = f"~{round(step / share):,}" if share > 0 else "?"
        self.show(
            f"step {step:,}/{total}  loss {loss:.4f}  {rate:,.0f} items/s  "
            f"{duration(left) if left is not None else '?'} left"
        )

    def show(self, line: str) -> None:
        """Show a line, unless the previous one was shown a moment ago."""
        if self._console is None:
            return
        now = time.monotonic()
        if now - self._shown < (LIVE_EVERY if self._status is not None else LINE_EVERY):
            return
        self._shown = now
        if self._status is None:
            self.say(line)
            return
        text = Text(line)
        text.truncate(self._console.width - 3, overflow="ellipsis")  # room for the spinner
        self._status.update(text)

    def say(self, line: str) -> None:
        """Print a line permanently."""
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print a warning, even without a console."""
        console = self._console or Console(stderr=True, markup=False)
        console.print(
            f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )


def duration(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
