from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, job_of, sorted_out, spec_of

from heterrec_pipeline.files.rejects import sorted_rejects
from heterrec_pipeline.publishing.rejects import (
    RejectSummary,
    check_ratios,
    summarise,
    write_rejects,
)
from heterrec_pipeline.wiring.reports import FILES, REJECTS, report_count, report_rejects
from heterrec_pipeline.wiring.step import EMPTY
from heterrec_schemas.errors import RejectRatioError
from heterrec_schemas.feature_spec import Limits
from heterrec_schemas.rejects import REJECTS_SCHEMA, Reason

ROWS = [
    ("log", "b.csv", 3, "time", "time_unreadable", "x"),
    ("log", "a.csv", 9, "time", "time_unreadable", None),
    ("log", "a.csv", 9, "item", "missing_key", None),
    ("log", "a.csv", 2, "time", "time_unreadable", "it's"),
    ("log", "a.csv", 1, "", "malformed_row", "q"),
    ("log", "a.csv", 8, "time", "time_unreadable", "y"),
    ("items", "i.csv", 0, "price", "not_a_number", "-"),
    ("items", "i.csv", 0, "look", "wrong_width", "width 1"),
]


def table_of(rows: list[Any]) -> pa.Table:
    return pa.table([[r[k] for r in rows] for k in range(6)], schema=REJECTS_SCHEMA)


def run(folder: Path, tables: list[pa.Table]) -> tuple[pa.Table, RejectSummary]:
    job = job_of(spec_of(), folder)
    (summary,), tagged = sorted_out(write_rejects(job, (0, tables), {"interactions.read": 9}))
    (file,) = tagged[FILES]
    assert file.path == "rejects/rejects-00000-of-00001.parquet"
    return pq.read_table(file.temporary), summary


@pytest.mark.parametrize("order", [1, -1])
def test_rejects_are_written_in_order_and_summarised(tmp_path: Path, order: int) -> None:
    rows = ROWS[::order]
    table, summary = run(tmp_path, [EMPTY, table_of(rows[:5]), table_of([]), table_of(rows[5:])])
    assert [tuple(r.values())[:4] for r in table.to_pylist()] == sorted(r[:4] for r in ROWS)
    assert table.schema.remove_metadata().equals(REJECTS_SCHEMA)
    assert summary.entries == {
        "malformed_row": 1,
        "missing_key": 1,
        "not_a_number": 1,
        "time_unreadable": 4,
        "wrong_width": 1,
    }
    of_rows = {("items", "default"): 1, ("log", "default"): 5}
    assert summary.rows == of_rows, "a row counts once"
    assert summary.dominant["log", "default"] == (
        "time_unreadable",
        4,
        [
            "a.csv row 2, column 'time': got \"it's\"",
            "a.csv row 8, column 'time': got 'y'",
            "a.csv row 9, column 'time': got nothing",
        ],
    )
    assert summary.dominant["items", "default"][0] == "not_a_number", (
        "of equally many, the first by name"
    )


def test_no_rejects_are_a_file_too(tmp_path: Path) -> None:
    table, summary = run(tmp_path, [EMPTY])
    assert (len(table), summary) == (0, RejectSummary({}, {}, {}))


# --- the ratio


def summary_of(limit: str = "default", reason: str = "missing_key", **rows: int) -> RejectSummary:
    return RejectSummary(
        {},
        {(s, limit): n for s, n in rows.items()},
        {(s, limit): (reason, n, ["f row 1: got nothing"]) for s, n in rows.items()},
    )


def limits(ratio: Any) -> Limits:
    return Limits(max_reject_ratio=ratio)


@MANY
@given(st.integers(0, 1000), st.integers(1, 1000))
def test_only_what_is_above_the_limit_is_refused(percent: int, total: int) -> None:
    """In integers: a limit of 0.29 allows 29 of 100, though 0.29 * 100 < 29 in floats."""
    limit = limits(percent / 1000)
    for aside in {0, percent * total // 1000, percent * total // 1000 + 1}:
        if aside * 1000 > percent * total:
            with pytest.raises(RejectRatioError):
                check_ratios(limit, {"log": total}, summary_of(log=aside))
        else:
            check_ratios(limit, {"log": total}, summary_of(log=aside))
    check_ratios(limits(0.29), {"log": 100}, summary_of(log=29))


def test_every_source_above_the_limit_is_told_with_its_reason() -> None:
    rows = {"users": 10, "log": 2000, "items": 4, "items.joins[0]": 0}
    with pytest.raises(RejectRatioError) as error:
        check_ratios(limits(0.01), rows, summary_of(log=1500, items=1, users=0))
    assert error.value.message == (
        "items: 1 of 4 rows (25.0%) were rejected, more than limits.max_reject_ratio allows (1.0%); "
        "missing_key dominates with 1 entry:\n    f row 1: got nothing\n"
        "log: 1,500 of 2,000 rows (75.0%) were rejected, more than limits.max_reject_ratio allows "
        "(1.0%); missing_key dominates with 1,500 entries:\n    f row 1: got nothing. "
        "Fix the input or the spec, or raise the limit: "
        "limits: {max_reject_ratio: {default: 0.01, missing_key: 0.75}}. Nothing was published."
    )
    check_ratios(limits(1.0), rows, summary_of(log=2000))


def test_a_reason_with_a_limit_of_its_own_counts_against_no_other(tmp_path: Path) -> None:
    by_reason = {"time_unreadable": 0.004, "malformed_row": 1.0}
    spec = spec_of(limits={"max_reject_ratio": by_reason})
    found = summarise(spec, sorted_rejects([table_of(ROWS)]))
    # Row 9 of a.csv has a reject for either limit.
    assert found.rows == {
        ("items", "default"): 1,
        ("log", "default"): 1,
        ("log", "malformed_row"): 1,
        ("log", "time_unreadable"): 4,
    }
    check_ratios(spec.limits, {"log": 1000, "items": 100}, found)
    with pytest.raises(RejectRatioError) as error:
        check_ratios(spec.limits, {"log": 999, "items": 100}, found)
    assert error.value.message == (
        "log: 4 of 999 rows (0.4%) were rejected as time_unreadable, more than "
        "limits.max_reject_ratio.time_unreadable allows (0.4%); time_unreadable dominates with 4 entries:\n"
        "    a.csv row 2, column 'time': got \"it's\"\n    a.csv row 8, column 'time': got 'y'\n"
        "    a.csv row 9, column 'time': got nothing. Fix the input or the spec, or raise the limit: limits: "
        "{max_reject_ratio: {default: 0.01, time_unreadable: 0.0041, malformed_row: 1}}. Nothing was published."
    )
    with pytest.raises(RejectRatioError, match=r"1 of 99 rows .*limits\.max_reject_ratio\.default"):
        check_ratios(spec.limits, {"log": 99 * 11, "items": 99}, found)


# --- the ledger


def test_what_steps_report() -> None:
    cells = [(3, "price", Reason.NOT_A_NUMBER, "x" * 300), (4, "", Reason.MALFORMED_ROW, None)]
    (output,) = report_rejects("items", "a.csv", iter(cells))
    assert output.tag == REJECTS
    assert output.value.schema.equals(REJECTS_SCHEMA)
    assert [tuple(r.values()) for r in output.value.to_pylist()] == [
        ("items", "a.csv", 3, "price", "not_a_number", "x" * 200),
        ("items", "a.csv", 4, "", "malformed_row", None),
    ]
    assert list(report_rejects("items", "a.csv", [])) == []
    count = report_count("items.rows", 5)
    assert (count.tag, count.value) == ("counts", ("items.rows", 5))
