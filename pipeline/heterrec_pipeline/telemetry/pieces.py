"""The pieces of a trace: each process of this machine appends its spans to a file of its own.

A piece is JSON lines in the trace-event format of Chrome and Perfetto; `trace` puts them together.
"""

import json
import os
import threading
import time
from typing import Any

KEEP = 10_000
"""After so many spans of one process, only spans ten times as long are kept."""
SHORTEST_NS = (0, 10**6, 10**7, 10**8, 10**9)
"""How long a span must be to be kept, after 0, 1, 2 .. times `KEEP` spans; after the last none is."""
_ZERO = time.time_ns() - time.perf_counter_ns()


def now_ns() -> int:
    """Nanoseconds since 1970 by a clock that never goes back; processes of one machine agree on it."""
    return _ZERO + time.perf_counter_ns()


class Piece:
    """The spans of one process. Safe to use from several threads."""

    def __init__(self, folder: str, began_ns: int) -> None:
        """Write into the folder of pieces, times counted from when the build began."""
        self._path = os.path.join(folder, f"{os.getpid()}.jsonl")
        self._began_ns = began_ns
        self._lock = threading.Lock()
        self._lanes: dict[str, int] = {}
        self._waiting: list[dict[str, Any]] = []
        self._kept = 0
        self.dropped = 0

    def add(
        self, lane: str, name: str, kind: str, start_ns: int, end_ns: int, args: dict[str, Any]
    ) -> None:
        """Keep a span, unless there are so many that only long ones are kept."""
        with self._lock:
            step = self._kept // KEEP
            if step >= len(SHORTEST_NS) or end_ns - start_ns < SHORTEST_NS[step]:
                self.dropped += 1
                return
            self._kept += 1
            event = {
                "ph": "X",
                "name": name,
                "cat": kind,
                "ts": (start_ns - self._began_ns) / 1000,
                "dur": (end_ns - start_ns) / 1000,
                "pid": os.getpid(),
                "tid": self._lane(lane),
            }
            self._waiting.append(event | ({"args": args} if args else {}))

    def _lane(self, lane: str) -> int:
        if lane not in self._lanes:
            self._lanes[lane] = len(self._lanes) + 1
            self._waiting.append(named("thread_name", lane, os.getpid(), self._lanes[lane]))
        return self._lanes[lane]

    def flush(self) -> None:
        """Append what waits to the file; nothing where the folder does not exist, as on another machine."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting and os.path.isdir(os.path.dirname(self._path)):
                dropped = {"dropped": self.dropped}
                lines = [json.dumps(line) for line in (*waiting, dropped)]
                with open(self._path, "a", encoding="utf-8") as out:
                    out.write("\n".join(lines) + "\n")


def named(what: str, name: str, pid: int, tid: int = 0) -> dict[str, Any]:
    """The event that names a process or a thread."""
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
