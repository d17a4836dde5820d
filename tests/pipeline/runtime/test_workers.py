from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions

from heterrec_pipeline.runtime import workers
from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_pipeline.runtime.workers import ROWS_PER_WORKER, parse_workers, use_workers
from heterrec_schemas.errors import CallError


def chosen(asked: int | None, rows: int, *flags: str) -> tuple[int, int, str | None]:
    """The number of workers, and what Beam's options say afterwards."""
    options = pipeline_options(list(flags))
    count = use_workers(options, asked, rows)
    direct = options.view_as(DirectOptions)
    return count, direct.direct_num_workers, direct.direct_running_mode


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (0, 1),
        (2 * ROWS_PER_WORKER - 1, 1),
        (2 * ROWS_PER_WORKER, 2),
        (3 * ROWS_PER_WORKER, 3),
        (99 * ROWS_PER_WORKER, 4),
    ],
)
def test_auto_follows_the_input_up_to_the_cores(
    rows: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 4)
    mode = "multi_processing" if count > 1 else "in_memory"
    assert chosen(None, rows) == (count, count, mode)


def test_a_number_is_taken_whatever_the_input() -> None:
    assert chosen(3, 0) == (3, 3, "multi_processing")
    assert chosen(1, 99 * ROWS_PER_WORKER) == (1, 1, "in_memory")


def test_beams_own_flags_and_other_engines_are_left_alone() -> None:
    rows = 99 * ROWS_PER_WORKER
    assert chosen(None, rows, "--direct_num_workers=5")[:2] == (5, 5)
    assert chosen(None, rows, "--direct_running_mode=multi_threading")[2] == "multi_threading"
    assert chosen(None, rows, "--runner=PrismRunner")[:2] == (1, 1)


@pytest.mark.parametrize(
    ("flag", "got"),
    [
        ("--runner=PrismRunner", "another engine"),
        ("--direct_num_workers=2", "Beam's own --direct_* flags as well"),
        ("--direct_running_mode=multi_threading", "Beam's own --direct_* flags as well"),
    ],
)
def test_two_numbers_are_refused(flag: str, got: str) -> None:
    with pytest.raises(CallError) as error:
        chosen(2, 0, flag)
    assert f"--workers 2: got {got}" in error.value.message


def test_the_values_of_the_option() -> None:
    assert [parse_workers(text) for text in ("auto", "1", "12")] == [None, 1, 12]
    for text in ("0", "-1", "two", "", "1.5", "²", "1e9", "inf", "1025", "9" * 5000):
        with pytest.raises(CallError, match="expected auto or a number from 1 to 1,024"):
            parse_workers(text)


def test_a_quota_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for text, count in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("?", 8)):
        (tmp_path / "cpu.max").write_text(text + "\n")
        monkeypatch.setattr(workers, "QUOTA", str(tmp_path / "cpu.max"))
        assert workers.cores() == count
    monkeypatch.setattr(workers, "QUOTA", str(tmp_path / "absent"))
    assert workers.cores() == 8
