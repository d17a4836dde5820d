"""How many texts are done: one tally a process, watched by whoever runs the workers in it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[int, int | None], None]


class Tally:
    """Done and expected texts; every change is told to whoever watches."""

    def __init__(self) -> None:
        """Nobody watches."""
        self._lock = threading.Lock()
        self._tell: OnProgress | None = None
        self._done = 0
        self._total: int | None = None

    @contextmanager
    def watched(self, tell: OnProgress | None) -> Iterator[None]:
        """Begin at nothing and report to `tell(done, total or None)` inside the block."""
        with self._lock:
            self._tell, self._done, self._total = tell, 0, None
        try:
            yield
        finally:
            with self._lock:
                self._tell = None

    def expect(self, total: int) -> None:
        """So many texts there are."""
        self._move(0, total)

    def add(self, done: int) -> None:
        """So many more are done."""
        if done:
            self._move(done, None)

    def _move(self, done: int, total: int | None) -> None:
        with self._lock:
            self._done += done
            self._total = self._total if total is None else total
            if self._tell is not None:
                self._tell(self._done, self._total)


TALLY = Tally()
