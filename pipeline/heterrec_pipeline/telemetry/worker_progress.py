"""Progress of worker processes on this machine: each writes snapshots of its recorder to a file that the caller polls."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from heterrec_pipeline.telemetry.recorder import RECORDER, Snapshot
from heterrec_schemas.background import in_background

SECONDS = 0.5
"""Time in seconds between two snapshots."""


def write_snapshots(folder: str) -> None:
    """Write a snapshot of this process into a folder as often as it changes, as long as the process and the folder exist."""
    threading.Thread(target=_write, args=(Path(folder),), name="progress", daemon=True).start()


def _write(folder: Path) -> None:
    target, last = folder / f"{os.getpid()}.json", None
    with contextlib.suppress(OSError):  # the folder is deleted when the run ends
        while True:
            threading.Event().wait(SECONDS)
            snapshot = RECORDER.snapshot()
            if snapshot != last:
                waiting = target.with_suffix(".tmp")
                waiting.write_text(json.dumps(snapshot), encoding="utf-8")
                waiting.replace(target)
                last = snapshot


@contextlib.contextmanager
def read_snapshots(folder: str) -> Iterator[None]:
    """Update this process's recorder from the snapshots in a folder while the block runs."""

    def poll(ended: threading.Event) -> None:
        seen: dict[Path, int] = {}
        while not ended.wait(SECONDS):
            for path in sorted(Path(folder).glob("*.json")):
                with contextlib.suppress(OSError):
                    changed = path.stat().st_mtime_ns
                    if changed != seen.get(path):
                        seen[path] = changed
                        RECORDER.update_worker(
                            int(path.stem), Snapshot(*json.loads(path.read_text("utf-8")))
                        )

    with in_background(poll, "worker progress"):
        yield
