"""The spans of one process, appended to a file of its own; `trace` combines the files of all processes of the machine.

The lines are JSON in the trace-event format of Chrome and Perfetto.
"""

import json
import os
import threading
import time
from typing import Any

KEEP = 10_000
"""Number of spans of one process after which the shortest span kept becomes ten times as long."""
SHORTEST_NS = (0, 10**6, 10**7, 10**8, 10**9)
"""Shortest span kept, in nanoseconds, after 0, 1, 2 .. times `KEEP` spans; after the last, none is kept."""
_ZERO = time.time_ns() - time.perf_counter_ns()


def now_ns() -> int:
    """Nanoseconds since 1970 by a monotonic clock on which the processes of a machine agree."""
    return _ZERO + time.perf_counter_ns()


class SpanFile:
    """Buffers and writes the spans of one process. Thread-safe."""

    def __init__(self, folder: str, began_ns: int) -> None:
        """Write into a folder; times are relative to the begin of the build."""
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
        """Keep a span unless it is too short for the number of spans kept so far."""
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
            self._waiting.append(name_event("thread_name", lane, os.getpid(), self._lanes[lane]))
        return self._lanes[lane]

    def flush(self) -> None:
        """Append the buffered spans; drops them if the folder does not exist, as on another machine."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting and os.path.isdir(os.path.dirname(self._path)):
                dropped = {"dropped": self.dropped}
                lines = [json.dumps(line) for line in (*waiting, dropped)]
                with open(self._path, "a", encoding="utf-8") as out:
                    out.write("\n".join(lines) + "\n")


def name_event(what: str, name: str, pid: int, tid: int = 0) -> dict[str, Any]:
    """The event that names a process (`process_name`) or a thread (`thread_name`)."""
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
