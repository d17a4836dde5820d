from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pieces import spec_of

from heterrec_pipeline.checking.doubts.times import time_doubts
from heterrec_pipeline.checking.evidence import Evidence
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_schemas.feature_spec import Rejects

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def doubts(
    cells: pa.Array, users: list[str] | None = None, order: str | None = None, **time: Any
) -> list[str]:
    spec = spec_of(interactions={"timestamp": {"column": "time", **time}, "order": order})
    count = len(cells)
    evidence = Evidence(1000)
    evidence.add(
        pa.table({"time": cells}),
        ["time"],
        user=pl.Series(users or [f"u{k}" for k in range(count)]),
        item=pl.Series([f"i{k}" for k in range(count)]),
        time=milliseconds(cells, spec.interactions.timestamp),
    )
    return list(time_doubts(spec, evidence, NOW))


@pytest.mark.parametrize(
    ("cells", "unit", "words"),
    [
        (
            [1_700_000_000],
            "ms",
            "2023-11-14 as s, 1970-01-20 as ms, 1970-01-01 as us, 1970-01-01 as ns. Write unit: s",
        ),
        (
            ["1700000000000"],
            "us",
            "2023-11-14 as ms, 1970-01-20 as us, 1970-01-01 as ns. Write unit: ms",
        ),
        ([1_700_000_000_000_000], "ns", "2023-11-14 as us, 1970-01-20 as ns. Write unit: us"),
        (
            [45_000.5],
            "day",
            '(Excel) it is 2023-03-15: write unit: day, and into the source columns: {time: "CAST(',
        ),
        (["45000"], "s", "write unit: day, and into the source columns"),
        ([19_000], "s", "2022-01-08 as day. Write unit: day"),
    ],
)
def test_times_of_another_unit_come_with_what_they_mean(
    cells: list[object], unit: str, words: str
) -> None:
    (text,) = doubts(pa.array(cells), unit=unit)
    assert text.startswith("interactions.timestamp: all 1 sampled times are ")
    assert f"'time' with unit: {unit}" in text
    assert words in text


def test_the_expression_for_days_of_a_spreadsheet_gives_days_since_1970() -> None:
    frame = pl.DataFrame({"time": ["45000.5"]})
    days = frame.select(pl.sql_expr("CAST(time AS DOUBLE) - 25569")).item()
    assert datetime.fromtimestamp(days * 86_400, UTC) == datetime(2023, 3, 15, 12, tzinfo=UTC)


def test_likely_times_are_no_reason_to_warn() -> None:
    assert doubts(pa.array([1_700_000_000, 5]), unit="s") == [], "some are likely"
    assert doubts(pa.array([], pa.int64()), unit="s") == []
    times = pa.array([0], pa.timestamp("s"))
    assert doubts(times) == [
        "interactions.timestamp: all 1 sampled times are before 1990, from 1970-01-01T00:00:00Z to "
        "1970-01-01T00:00:00Z, read from 'time'"
    ], "a type has no unit to mistake"


def test_times_in_float32_have_lost_seconds() -> None:
    (text,) = doubts(pa.array([1_700_000_000.0], pa.float32()), unit="s")
    assert "column 'time' is float, which has 24 binary digits" in text
    assert "are multiples of 128" in text
    assert doubts(pa.array([1.7e9]), unit="s") == []


def test_times_that_order_nothing_are_named() -> None:
    same, users = pa.array([1_700_000_000] * 20), ["u", "v"] * 10
    (text,) = doubts(same, users, unit="s")
    assert text.startswith(
        "interactions: 100.0% of the 20 sampled interactions have the same time as another"
    )
    assert "such as 10 of user 'u' at 2023-11-14T22:13:20Z" in text
    assert doubts(same, users, unit="s", order="place") == []
    assert doubts(same[:10], users[:10], unit="s") == [], "too few to tell"
    assert doubts(same, unit="s") == [], "of different users"


def test_times_and_users_are_not_quoted_where_no_cell_may_be() -> None:
    cells = pa.array([4711.0 + 2**30] * 40, pa.float32())
    spec = spec_of(interactions={"timestamp": {"column": "time", "unit": "ms"}})
    spec = spec.model_copy(update={"rejects": Rejects(values="none")})
    evidence = Evidence(1000)
    evidence.add(
        pa.table({"time": cells}),
        ["time"],
        user=pl.Series([f"secret{k % 2}" for k in range(40)]),
        item=pl.Series([f"i{k}" for k in range(40)]),
        time=milliseconds(cells, spec.interactions.timestamp),
    )
    found = list(time_doubts(spec, evidence, NOW))
    assert len(found) == 3
    said = " ".join(found)
    assert "secret" not in said
    assert "1970" not in said
    assert f"{2**30 + 4711}"[:4] not in said
