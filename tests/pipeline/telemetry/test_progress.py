import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heterrec_pipeline.telemetry import worker_progress
from heterrec_pipeline.telemetry.progress import ProgressLine, duration
from heterrec_pipeline.telemetry.recorder import (
    FETCHED,
    READ,
    RECORDER,
    SPILLED,
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


def move(kind: str, rows: int) -> None:
    with moving(kind, "move") as moved:
        moved.add(rows, 1)


def step(name: str) -> StepInfo:
    return StepInfo(name.split("/")[0], name, 1)


def line() -> str:
    return ProgressLine().text()


def test_the_line_shows_the_stage_at_work_and_the_rows_by_table() -> None:
    assert line() == "starting"
    RECORDER.count("items.rows", 1200)
    RECORDER.count("items.rows", 34)
    RECORDER.count("items.unusable", 1)
    RECORDER.count("interactions.read", 5)
    RECORDER.show("run the graph")
    assert line() == "run the graph  (items 1,234 read, interactions 5 read)"
    with record_call(step("Sequences/write"), "process"):
        RECORDER.count("files.rows", 14)
        write("sequences/train", 7)
        write("sequences/train", 7)
        write("rejects", 0)
    rows = "(items 1,234 read, interactions 5 read, sequences/train 14 written)"
    assert line() == f"Sequences  {rows}"
    RECORDER.begin(2)
    assert line() == "starting"


def test_a_recorded_build_has_shares_and_times_left() -> None:
    """The events of a build of a denormalised log of 1,000 rows, at given seconds."""
    now = 0.0
    progress = ProgressLine(lambda: now)
    RECORDER.expect({"interactions": (1000, 2), "items": (0, 3)})
    with record_call(step("Publish/hash inputs"), "process"):
        assert progress.text() == "Publish"
    with record_call(step("Items from the log/read again"), "process"):
        assert progress.text() == "Items from the log"  # hashing has ended
        move(READ, 100)
        assert progress.text() == "Items from the log 10%"
        now = 10.0
        move(READ, 300)
        assert progress.text() == "Items from the log 40%, about 20 s left in this stage"
        with record_call(step("Items from the log/reduce"), "process"):
            move(READ, 600)
            move(SPILLED, 250)
            assert progress.text().startswith("Items from the log 80%, about 3 s left")
    move_in("Items from the log/aggregate", FETCHED, 250)
    assert progress.text().startswith("Items from the log 99%")  # a stage at work is not complete
    RECORDER.count("items.rows", 50)
    move_in("Catalogue/keys", READ, 50)
    assert progress.text() == "Catalogue 25%  (items 50 read)"  # of 3 x 50 read and 50 written
    RECORDER.count("interactions.read", 500)
    RECORDER.count("interactions.bad", 20)
    move_in("Log/read", READ, 500)
    assert progress.text() == "Log 50%  (items 50 read, interactions 500 read)"
    RECORDER.count("interactions.read", 500)
    move_in("Histories/build", FETCHED, 490)
    move_in("Histories/build", SPILLED, 590)
    assert progress.text().startswith("Histories 50%")
    move_in("Splits/split", FETCHED, 25)
    assert progress.text().startswith("Splits 25%")
    move_in("Splits/split", SPILLED, 60)
    move_in("Sequences/write", FETCHED, 15)
    assert progress.text().startswith("Sequences 25%")
    now = 3600.0
    move_in("Sequences/write", FETCHED, 15)
    assert "Sequences 50%, about 2.0 h left in this stage" in progress.text()


def move_in(name: str, kind: str, rows: int) -> None:
    with record_call(step(name), "process"):
        move(kind, rows)


def test_a_stage_without_a_known_total_has_no_share() -> None:
    move_in("Log/read", READ, 5)
    assert line() == "Log"
    move_in("Users/encode", READ, 5)
    assert line() == "Users"
    RECORDER.expect({"users": (10, 2), "items": (10, 3), "items.joins[0]": (10, 2)})
    assert line() == "Users 25%"
    move_in("Catalogue/fit", READ, 5)
    assert line() == "Catalogue 10%"


def test_times_are_written_for_people() -> None:
    assert [duration(s) for s in (0.2, 45, 89.4, 600, 3600 * 2.25)] == [
        "1 s",
        "45 s",
        "89 s",
        "10 min",
        "2.2 h",
    ]


def test_the_stage_is_that_of_a_worker_at_work() -> None:
    """A worker that has ended its work is not named, even if it began last."""
    RECORDER.expect({"interactions": (100, 2)})
    busy: dict[str, dict[str, int]] = {"Items from the log": {"rows_read": 30}}
    RECORDER.update_worker(1, Snapshot("Items from the log", {}, {}, busy, ["Items from the log"]))
    hashing: dict[str, dict[str, int]] = {"Publish": {}}
    RECORDER.update_worker(2, Snapshot("Publish", {}, {}, hashing, ["Publish"]))
    assert line() == "Items from the log 30%"  # of two stages at work, the one with a share
    RECORDER.update_worker(2, Snapshot("Publish", {}, {}, hashing, []))
    assert line() == "Items from the log 30%"
    RECORDER.update_worker(1, Snapshot("Items from the log", {}, {}, busy, []))
    RECORDER.update_worker(2, Snapshot("Publish", {}, {}, hashing, ["Publish"]))
    assert line() == "Publish"


def test_workers_on_this_machine_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_progress, "SECONDS", 0.01)
    begun: list[str] = []
    RECORDER.begin(1, on_stage=begun.append)
    RECORDER.count("items.rows", 10)
    workers = {
        11: Snapshot(
            "Log", {"interactions.read": 5}, {}, {"Catalogue": {}, "Log": {"rows_read": 5}}, ["Log"]
        ),
        12: Snapshot(
            "Log",
            {"interactions.read": 6, "items.rows": 1},
            {"rejects": 2},
            {"Log": {"rows_read": 6}},
            [],
        ),
    }
    with worker_progress.read_snapshots(str(tmp_path)):
        for process, snapshot in workers.items():
            (tmp_path / f"{process}.json").write_text(json.dumps(snapshot))
        (tmp_path / "13.tmp").write_text("half a sn")
        assert until(lambda: len(RECORDER.workers) == 2)
    assert RECORDER.workers == workers
    RECORDER.expect({"interactions": (22, 1)})
    assert line() == "Log 50%  (items 11 read, interactions 11 read, rejects 2 written)"
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
