"""A sample refuses a build only if no other rows could save it."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pieces import job_of, numeric, spec_of, table_job, written_file

from heterrec_pipeline.checking import reject_limit, sample
from heterrec_pipeline.checking.estimate import row_estimate
from heterrec_pipeline.checking.reject_limit import (
    Excess,
    check_sample,
    row_bounds,
    smallest_row,
    way_out,
)
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import parquet
from heterrec_pipeline.sizing import Sizes
from heterrec_schemas.errors import RejectRatioError, SchemaMismatchError

ITEMS = b"item,price\n" + b"".join(b"%d,1\n" % k for k in range(50))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 50)
    monkeypatch.setattr(parquet, "MAX_ROWS", 100)
    monkeypatch.setattr(reject_limit, "SUSPECT_ROWS", 5000)


def job(
    folder: Path,
    log: InputFile,
    items: bytes = ITEMS,
    limit: float | dict[str, float] = 0.01,
    **more: Any,
) -> Job:
    table = table_job(numeric(), files=(written_file(folder / "items.csv", items),))
    spec = spec_of(limits={"max_reject_ratio": limit})
    tables = {"items": table, "log": (log,)} | more
    sizes = Sizes(
        spec.limits.broadcast_values,
        {"items": row_estimate(table.files), INTERACTIONS: row_estimate((log,))},
        {},
    )
    return job_of(spec, folder, sizes=sizes, **tables)


def parquet_log(folder: Path, times: list[int]) -> InputFile:
    path, n = folder / "log.parquet", len(times)
    columns = {"user": ["u"] * n, "item": ["1"] * n, "time": pa.array(times, pa.int64())}
    pq.write_table(pa.table(columns), path)
    return InputFile(str(path), path.name, path.stat().st_size, "parquet")


def csv_log(folder: Path, times: list[str], name: str = "log.csv") -> InputFile:
    return written_file(
        folder / name, ("user,item,time\n" + "".join(f"u,1,{t}\n" for t in times)).encode()
    )


def refusal(made: Job) -> str:
    with pytest.raises(RejectRatioError) as error:
        check_sample(made)
    return error.value.message


def read_rows(made: Job, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The numbers of rows that a check of the sample reads."""
    taken: list[sample.Sample] = []
    whole = reject_limit.sample_tables
    monkeypatch.setattr(
        reject_limit, "sample_tables", lambda *a: taken.extend(whole(*a)) or list(taken)
    )
    check_sample(made)
    return {s.table: s.rows for s in taken}


def test_a_table_that_is_read_whole_is_told_as_after_a_build(tmp_path: Path) -> None:
    log = csv_log(tmp_path, ["1", "soon", "later", "-1", *["5"] * 36])
    assert refusal(job(tmp_path, log)) == (
        "interactions: 3 of 40 rows (7.5%) were rejected, more than limits.max_reject_ratio allows (1.0%); "
        "time_unreadable dominates with 2 entries:\n"
        "    log.csv row 1, column 'time': got 'soon'\n    log.csv row 2, column 'time': got 'later'. "
        "Fix the input or the spec, or raise the limit: "
        "limits: {max_reject_ratio: {default: 0.01, time_unreadable: 0.075}}. Nothing was published."
    )
    check_sample(job(tmp_path, log, limit=0.075))


def test_no_limit_is_suggested_that_would_accept_a_source_without_rows(tmp_path: Path) -> None:
    log = csv_log(tmp_path, ["soon"] * 5)
    found = refusal(job(tmp_path, log))
    assert "interactions: 5 of 5 rows (100.0%) were rejected" in found
    assert found.endswith(
        "Fix the input or the spec; a higher limit does not help, since none of these rows would be left. Nothing was "
        "published."
    )
    nearly = [Excess("", "time_unreadable", 399 / 400)]
    assert "limits: {max_reject_ratio: {default: 0.01, time_unreadable: 0.9975}}" in way_out(
        spec_of().limits, nearly
    )
    for share, written in ((1 - 1e-13, "0.9999999999999"), (1e-5, "0.00001")):
        line = way_out(spec_of().limits, [Excess("", "time_unreadable", share)])
        assert f"time_unreadable: {written}" in line
        assert (
            yaml.safe_load(line.rpartition("limit: ")[2][:-1])["limits"]["max_reject_ratio"][
                "time_unreadable"
            ]
            < 1
        )


def test_a_limit_of_one_reason_is_checked_by_itself(tmp_path: Path) -> None:
    log = csv_log(tmp_path, ["1", "soon", "later", "-1", *["5"] * 36])
    check_sample(job(tmp_path, log, limit={"time_unreadable": 0.05, "default": 0.025}))
    found = refusal(job(tmp_path, log, limit={"time_unreadable": 0.0004, "default": 0.025}))
    assert found.startswith(
        "interactions: 2 of 40 rows (5.0%) were rejected as time_unreadable, more than "
        "limits.max_reject_ratio.time_unreadable allows (0.04%); time_unreadable dominates with 2 entries:"
    )
    assert "limits: {max_reject_ratio: {default: 0.025, time_unreadable: 0.05}}" in found
    assert "more than limits.max_reject_ratio.default allows" in refusal(
        job(tmp_path, log, limit={"time_unreadable": 1, "default": 0.02})
    )


def test_a_key_with_a_bad_cell_may_be_rejected_as_a_duplicate(tmp_path: Path) -> None:
    log = csv_log(tmp_path, ["1"])
    items = b"item,price\n1,x\n1,3\n" + b"2,3\n" * 8
    check_sample(job(tmp_path, log, items, limit={"not_a_number": 0}))
    assert "items: 1 of 10" in refusal(job(tmp_path, log, items, limit={"missing_key": 0}))


def test_every_source_is_told(tmp_path: Path) -> None:
    found = refusal(job(tmp_path, csv_log(tmp_path, ["x"]), b"item,price\n1,x\n,2\n"))
    assert "items: 2 of 2 rows" in found
    assert "interactions: 1 of 1 rows" in found


def test_a_bad_beginning_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(tmp_path, parquet_log(tmp_path, [-1] * 20 + [1] * 9980))
    # Rows are read until the share is at the limit: 20 of 2,000 rows, and the rest of a batch.
    assert 2000 <= read_rows(made, monkeypatch)[INTERACTIONS] <= 2100


def test_it_is_proven_as_soon_as_good_rows_could_not_outweigh_the_bad_ones(tmp_path: Path) -> None:
    made = job(tmp_path, parquet_log(tmp_path, [-1] * 10_000))
    found = refusal(made)
    _, first, *words = found.replace(",", "").split()
    assert words[:5] == ["of", "the", "first", first, "rows"]
    assert 100 < int(first) <= 300, "1% of 10,000 rows and what was read"
    assert "(1.0% of at most 10," in found
    assert "time_out_of_range dominates" in found


def test_a_compressed_text_bounds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = csv_log(tmp_path, ["x"] * 9000)
    packed = gzip.compress(Path(whole.path).read_bytes())
    log = written_file(tmp_path / "log.csv.gz", packed)
    monkeypatch.setattr("heterrec_pipeline.reading.formats.csv.BLOCK", 4096)
    made = job(tmp_path, log)
    assert INTERACTIONS not in row_bounds(made)
    assert 5000 <= read_rows(made, monkeypatch)[INTERACTIONS] < 9000
    monkeypatch.setattr(reject_limit, "SUSPECT_ROWS", 10_000)
    assert "interactions: 9,000 of 9,000 rows (100.0%)" in refusal(made)


def test_good_tables_are_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(tmp_path, parquet_log(tmp_path, [1] * 1000))
    assert read_rows(made, monkeypatch) == {"items": 50, INTERACTIONS: 50}


def test_cells_count_once_a_key_and_those_of_joined_tables_not(tmp_path: Path) -> None:
    log = csv_log(tmp_path, ["1"])
    # Equal rows of a key count as one, and of different ones at least one is rejected.
    items = b"item,price\n" + b"1,x\n" * 9 + b"2,3\n"
    check_sample(job(tmp_path, log, items, limit=0.1))
    assert "items: 1 of 10 rows" in refusal(job(tmp_path, log, items, limit=0.09))
    # A row of a joined table whose key no item has is not rejected.
    joined = written_file(tmp_path / "more.csv", b"item,price\n77,x\n")
    join = table_job(numeric(), name="items.joins[0]", files=(joined,), joined=True)
    check_sample(job(tmp_path, log, joins=(join,)))


def test_what_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": [1.5], "item": ["1"], "time": [1]}), path)
    log = InputFile(str(path), path.name, path.stat().st_size, "parquet")
    with pytest.raises(SchemaMismatchError, match="holds floats with fractions"):
        check_sample(job(tmp_path, log))


def test_the_smallest_good_row(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"user,shop,item,time,more\n1,,2,3\n")
    assert smallest_row(file, ["user", "item", "time"]) == len(b"1,,2,3\n")
    line = b'{"user":1,"item":2}\n'
    assert smallest_row(written_file(tmp_path / "a.jsonl", line), ["user", "item"]) == len(line)


def test_a_log_may_lack_the_users_that_are_dropped(tmp_path: Path) -> None:
    log = written_file(tmp_path / "log.csv", b"item,time\n" + b"1,2\n" * 10)
    made = job(tmp_path, log)
    interactions = made.spec.interactions.model_copy(update={"missing_user": "drop"})
    made = replace(made, spec=made.spec.model_copy(update={"interactions": interactions}))
    assert row_bounds(made)[INTERACTIONS] >= 10
    assert smallest_row(log, ["user", "item"]) == len(b"1\n")
