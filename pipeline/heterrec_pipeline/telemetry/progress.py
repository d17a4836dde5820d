"""How far a run is: a process-wide meter that steps move on and the command line shows."""

import threading
from dataclasses import dataclass, field


@dataclass
class Meter:
    """Rows read and written by table, and the stage that moved last. Safe to use from several threads."""

    stage: str = ""
    rows_read: dict[str, int] = field(default_factory=dict)
    rows_written: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, table: str, rows: int, stage: str | None = None) -> None:
        """Rows were read."""
        with self._lock:
            self.stage = stage or f"reading {table}"
            self.rows_read[table] = self.rows_read.get(table, 0) + rows

    def wrote(self, table: str, rows: int) -> None:
        """Rows were written."""
        with self._lock:
            self.stage = f"writing {table}"
            self.rows_written[table] = self.rows_written.get(table, 0) + rows

    def enter(self, stage: str) -> None:
        """A stage began."""
        with self._lock:
            self.stage = stage

    def reset(self) -> None:
        """Begin a new run."""
        with self._lock:
            self.stage = ""
            self.rows_read.clear()
            self.rows_written.clear()

    def line(self) -> str:
        """The state as one line."""
        with self._lock:
            done = [f"{t} {n:,} read" for t, n in self.rows_read.items()]
            done += [f"{t} {n:,} written" for t, n in self.rows_written.items()]
            return f"{self.stage or 'starting'}" + (f"  ({', '.join(done)})" if done else "")

    def __reduce__(self) -> tuple[object, tuple[()]]:
        """On a worker, the worker's own meter takes this one's place."""
        return (_meter, ())


METER = Meter()


def _meter() -> Meter:
    return METER
