"""Steps that call each other on one thread: the time and the rows recorded for each stage."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from heterrec_pipeline.telemetry import recorder, span_file
from heterrec_pipeline.telemetry.beam_metrics import FIRST, LAST
from heterrec_pipeline.telemetry.recorder import (
    BUSY,
    READ,
    RECORDER,
    SPILLED,
    WRITTEN,
    StepInfo,
    moving,
    record_call,
)

SECOND = 10**9
BEGAN = 1_000 * SECOND


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(recorder, "now_ns", clock)
    RECORDER.begin(BEGAN)
    yield clock
    RECORDER.begin(0)


def info(stage: str, folder: Path | None = None, began: int = BEGAN) -> StepInfo:
    return StepInfo(stage, f"{stage}/do", began, str(folder) if folder else None)


def test_a_stage_gets_its_own_time_only(clock: Clock) -> None:
    clock.pass_seconds(1)
    with record_call(info("Log"), "process"):
        clock.pass_seconds(2)
        with record_call(info("Histories"), "process"):
            clock.pass_seconds(4)
            with record_call(info("Log"), "finish_bundle"):
                clock.pass_seconds(0.5)
        clock.pass_seconds(3)
    assert RECORDER.stages == {
        "Log": {BUSY: 5_500_000, FIRST: 1000, LAST: 10_500},
        "Histories": {BUSY: 4_000_000, FIRST: 3000, LAST: 7500},
    }


def test_rows_moved_count_for_the_innermost_step(clock: Clock) -> None:
    with moving(READ, "outside of a step"):
        pass
    with record_call(info("Log"), "process"):
        with moving(READ, "read") as work:
            work.add(3, 30)
        with record_call(info("Histories"), "process"), moving(SPILLED, "spill") as work:
            work.add(2, 20)
            work.add(1, 10)
        with moving(READ, "read") as work:
            work.add(4, 40)
    assert RECORDER.stages["Log"].items() >= {"rows_read": 7, "bytes_read": 70}.items()
    assert RECORDER.stages["Histories"].items() >= {"rows_spilled": 3, "bytes_spilled": 30}.items()


def test_a_failing_step_is_recorded(clock: Clock) -> None:
    @contextmanager
    def failing() -> Iterator[None]:
        with record_call(info("Log"), "process"):
            yield
            clock.pass_seconds(2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), failing():
        pass
    assert RECORDER.stages["Log"][BUSY] == 2_000_000


def test_a_call_closed_by_another_thread_takes_no_time(clock: Clock) -> None:
    def outputs() -> Iterator[int]:
        with record_call(info("Log"), "process"):
            yield 1

    stream = outputs()
    next(stream)
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    assert RECORDER.stages == {"Log": {}}
    later = info("Publish", began=BEGAN + 1)
    with record_call(later, "process"):
        clock.pass_seconds(1)
    assert RECORDER.stages["Publish"][BUSY] == 1_000_000
    assert list(RECORDER.stages) == ["Publish"]


def test_each_stage_is_announced_once(clock: Clock) -> None:
    began: list[str] = []
    RECORDER.begin(BEGAN, None, began.append)
    for stage in ("Log", "Publish", "Log"):
        with record_call(info(stage), "process"):
            pass
    assert began == ["Log", "Publish"]


def test_without_an_info_nothing_is_recorded(clock: Clock) -> None:
    with record_call(None, "process"):
        assert recorder.lane() is None
    assert RECORDER.stages == {}


def test_progress_has_the_stages_at_work_and_the_counts(clock: Clock) -> None:
    RECORDER.count("items.rows", 2)
    with record_call(info("Log"), "process"):
        RECORDER.count("items.rows", 3)
        with record_call(info("Histories"), "process"):
            assert RECORDER.progress().working == ["Log"]
        with moving(WRITTEN, "write x", "items") as moved:
            moved.add(4, 40)
    with record_call(info("Publish"), "process"):
        pass
    found = RECORDER.progress()
    assert found[:3] == ("Publish", {"items.rows": 5}, {"items": 4})
    assert (list(found.stages), found.working) == (["Log", "Histories", "Publish"], [])
    assert found.stages["Log"]["rows_written"] == 4
    with recorder.phase("run the graph"):
        assert RECORDER.progress().activity == "run the graph"
    RECORDER.begin(0)
    assert RECORDER.progress() == ("", {}, {}, {}, [])


def test_threads_lose_no_counts(clock: Clock) -> None:
    def work() -> None:
        for _ in range(2000):
            RECORDER.count("log.rows", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RECORDER.counters == {"log.rows": 8000}


def test_spans_of_a_worker_process(clock: Clock, tmp_path: Path) -> None:
    # The first call of a build in a worker process begins its records.
    RECORDER.begin(0)
    table = pa.table({"a": [1, 2, 3]})
    with record_call(info("Log", tmp_path), "process", (7, table)):
        assert list(recorder.ahead([1, 2], recorder.lane())) == [1, 2]
        threads = [threading.Thread(target=list, args=(recorder.ahead("ab", recorder.lane()),))]
        for thread in threads:
            thread.start()
            thread.join()
        with moving(READ, "read") as work:
            work.add(3, 30)
        clock.pass_seconds(1)
        with record_call(info("Histories", tmp_path), "finish_bundle"):
            clock.pass_seconds(1)
    recorder._THREAD.lane = None
    (piece,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in piece.read_text().splitlines()]
    found = {e["name"]: e for e in lines if e.get("ph") == "X"}
    assert found["Log/do"]["args"] == {"rows": 3, "bytes": table.nbytes}
    assert (found["Log/do"]["ts"], found["Log/do"]["dur"]) == (0, 2_000_000)
    assert (found["Histories/do: finish_bundle"]["ts"], found["read"]["cat"]) == (1_000_000, "read")
    lanes = {e["tid"]: e["args"]["name"] for e in lines if e.get("name") == "thread_name"}
    assert "reading ahead" in lanes[found["read ahead"]["tid"]]


def test_a_trace_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_file, "KEEP", 10)
    piece = span_file.SpanFile(str(tmp_path), 0)
    for _ in range(30):
        piece.add("main", "short", "step", 0, 1000, {})
    for _ in range(200):
        piece.add("main", "long", "step", 0, 20 * SECOND, {})
    piece.flush()
    lines = [json.loads(line) for line in next(tmp_path.iterdir()).read_text().splitlines()]
    names = [e["name"] for e in lines if e.get("ph") == "X"]
    assert (names.count("short"), names.count("long")) == (10, 40)
    assert lines[-1] == {"dropped": 180}
    piece.flush()
    assert len(lines) == len(next(tmp_path.iterdir()).read_text().splitlines())


def test_nothing_is_written_where_the_folder_does_not_exist(tmp_path: Path) -> None:
    piece = span_file.SpanFile(str(tmp_path / "elsewhere"), 0)
    piece.add("main", "a", "step", 0, 1, {})
    piece.flush()
    assert list(tmp_path.iterdir()) == []
