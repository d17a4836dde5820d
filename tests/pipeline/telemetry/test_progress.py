import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heterrec_pipeline.telemetry import worker_progress
from heterrec_pipeline.telemetry.progress import progress_line
from heterrec_pipeline.telemetry.recorder import (
    RECORDER,
    WRITTEN,
    Snapshot,
    StepInfo,
    moving,
    record_call,
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    RECORDER.begin(1)
    yield
    RECORDER.begin(0)


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return holds


def write(table: str, rows: int) -> None:
    with moving(WRITTEN, "write", table) as moved:
        moved.add(rows, 1)


def test_the_line_shows_the_last_activity_and_the_rows_by_table() -> None:
    assert progress_line() == "starting"
    RECORDER.count("items.rows", 1200)
    RECORDER.count("items.rows", 34)
    RECORDER.count("items.unusable", 1)
    RECORDER.count("interactions.read", 5)
    RECORDER.show("run the graph")
    assert progress_line() == "run the graph  (items 1,234 read, interactions 5 read)"
    with record_call(StepInfo("Sequences", "Sequences/write", 1), "process"):
        RECORDER.count("files.rows", 14)
        write("sequences/train", 7)
        write("sequences/train", 7)
        write("rejects", 0)
    assert (
        progress_line()
        == "Sequences/write  (items 1,234 read, interactions 5 read, sequences/train 14 written)"
    )
    RECORDER.begin(2)
    assert progress_line() == "starting"


def test_workers_on_this_machine_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_progress, "SECONDS", 0.01)
    begun: list[str] = []
    RECORDER.begin(1, on_stage=begun.append)
    RECORDER.count("items.rows", 10)
    workers = {
        11: Snapshot("Log/read", {"interactions.read": 5}, {}, ["Catalogue", "Log"]),
        12: Snapshot(
            "Log/read", {"interactions.read": 6, "items.rows": 1}, {"rejects": 2}, ["Log"]
        ),
    }
    with worker_progress.read_snapshots(str(tmp_path)):
        for process, snapshot in workers.items():
            (tmp_path / f"{process}.json").write_text(json.dumps(snapshot))
        (tmp_path / "13.tmp").write_text("half a sn")
        assert until(lambda: len(RECORDER.workers) == 2)
    assert RECORDER.workers == workers
    assert progress_line() == ("Log/read  (items 11 read, interactions 11 read, rejects 2 written)")
    assert sorted(begun) == ["Catalogue", "Log"]


def test_a_worker_writes_what_it_has_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_progress, "SECONDS", 0.01)
    folder = tmp_path / "progress"
    folder.mkdir()
    worker_progress.write_snapshots(str(folder))
    RECORDER.count("items.rows", 3)
    target = folder / f"{os.getpid()}.json"
    assert until(lambda: target.exists() and json.loads(target.read_text())[1] == {"items.rows": 3})
    shutil.rmtree(folder)

    def ended() -> bool:
        RECORDER.count("items.rows", 1)  # a change that it cannot write
        return all(t.name != "progress" for t in threading.enumerate())

    assert until(ended)
