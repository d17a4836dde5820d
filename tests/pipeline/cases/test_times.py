"""Kinds of times."""

from typing import Any

import pyarrow as pa
import pytest
from case_shop import EVENTS, START, Case, csv

from heterrec_pipeline.interactions.times import milliseconds
from heterrec_schemas.feature_spec import Timestamp

OUT = -1
"""A time outside of the range."""


def test_a_pattern_of_java(case: Case) -> None:
    case.log["timestamp"] = {"column": "ts", "format": "yyyy-MM-dd HH:mm:ss"}
    case.refused("yyyy-MM-dd HH:mm:ss", "strptime", "%Y-%m-%d")


def test_milliseconds_as_seconds(case: Case) -> None:
    case.events("log.csv", csv([(u, i, t * 1000) for u, i, t in EVENTS]))
    case.refused("time_out_of_range", "unit: ms")


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2020-09-13T12:26:40Z", START * 1000),
        ("2020-09-13 12:26:40 UTC", START * 1000),  # BigQuery
        ("2020-09-13 12:26:40.000 UTC", START * 1000),  # Athena
        ("2020-09-13 12:26:40.123456789", START * 1000 + 123),  # pandas
        ("2020-09-13T14:26:40+02:00", START * 1000),
        ("2020-09-13", 1_599_955_200_000),
        ("13/09/2020 12:26", None),
        ("Sep 13, 2020", None),
    ],
)
def test_forms_of_iso(text: str, ms: int | None) -> None:
    assert _read([text], "iso") == [ms]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1.6e9", START * 1000),
        ("1600000010.0", 1_600_000_010_000),
        ("1600000030.9999", 1_600_000_030_999),
        (" +1600000000 ", START * 1000),
        ("NaN", None),
        ("-1", OUT),
        ("0", 0),
        ("0x5F5E1000", None),
    ],
)
def test_numbers_as_text(text: str, ms: int | None) -> None:
    assert _read([text], "s") == [ms]


def test_thousands_commas_are_further_cells(case: Case) -> None:
    case.events("log.csv", csv([(u, i, f"{t:,}") for u, i, t in EVENTS]))
    case.refused("malformed_row", "6 fields, expected 3")


def _read(cells: list[str], unit: Any) -> list[int | None]:
    return milliseconds(pa.array(cells), Timestamp(column="ts", unit=unit)).to_list()


def test_seconds_as_milliseconds(case: Case) -> None:
    case.log["timestamp"]["unit"] = "ms"
    assert any("1970" in warning for warning in case.fits())


def test_days_as_excel_counts_them(case: Case) -> None:
    case.events("log.csv", csv([(u, i, 44_927) for u, i, _ in EVENTS]))
    case.log["timestamp"]["unit"] = "day"
    assert any("2093" in warning for warning in case.fits())
