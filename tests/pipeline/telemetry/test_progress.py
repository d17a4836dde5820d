from collections.abc import Iterator

import pytest

from heterrec_pipeline.telemetry.progress import progress_line
from heterrec_pipeline.telemetry.recorder import RECORDER, WRITTEN, StepInfo, moving, record_call


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    RECORDER.begin(1)
    yield
    RECORDER.begin(0)


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
