"""Times compared with other values: each message has what to write, which an expression may be."""

import re
from datetime import date, datetime, time
from typing import Any

import polars as pl
import pytest

from heterrec_pipeline.reading.shaping.time_comparisons import time_hint
from heterrec_schemas.feature_spec.expressions import columns_of, parse_expression

ROW: dict[str, Any] = {
    "ts": datetime(2026, 1, 2, 9),
    "day": date(2026, 1, 2),
    "at": time(9),
    "user": "u1",
}


def selected(text: str) -> object:
    return pl.DataFrame([ROW]).select(parse_expression(text)).item()


def reads(text: str) -> bool:
    try:
        selected(text)
    except (ValueError, pl.exceptions.PolarsError):
        return False
    return True


def hint(text: str) -> str | None:
    with pytest.raises(pl.exceptions.PolarsError) as raised:
        selected(text)
    types = pl.DataFrame([ROW]).schema
    return time_hint(text, str(raised.value), {c: types[c] for c in columns_of(text)}, reads)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("ts >= '2026-01-02'", "ts >= DATE '2026-01-02'"),
        ("ts >= '2026-01-02 08:00'", "ts >= TIMESTAMP '2026-01-02 08:00:00'"),
        ("ts > '2026-01-02T08:00:00+01:00'", "ts > TIMESTAMP '2026-01-02 07:00:00'"),
        ("day = '2026-01-02' AND TRUE", "day = DATE '2026-01-02' AND TRUE"),
        (
            "ts BETWEEN '2026-01-02' AND '2026-01-03'",
            "ts BETWEEN DATE '2026-01-02' AND DATE '2026-01-03'",
        ),
        ("day IN ('2026-01-02')", "day IN (DATE '2026-01-02')"),
        ("at > '08:00'", "at > TIME '08:00:00'"),
        ("\"ts\" > '2026-01-02' OR \"user\" = 'it''s'", None),
    ],
)
def test_a_time_compared_with_a_text_comes_with_the_literal(text: str, written: str | None) -> None:
    written = written or "\"ts\" > DATE '2026-01-02' OR \"user\" = 'it''s'"
    assert hint(text) == f"A time is compared with a time: write {written}."
    assert selected(written) is True


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ts > '02.01.2026'", "ts"),
        ("ts LIKE '2026%'", "ts"),
        ("LOWER(day) = '2026-01-02'", "day"),
        ("\"user\" > DATE '2026-01-02'", '"user"'),
        ('ts = "user"', '"user"'),
    ],
)
def test_what_is_written_in_the_place_of_a_column_fits(text: str, place: str) -> None:
    found = hint(text)
    assert found is not None
    instead = re.findall(r"write (\S+\(.*?\)) (?:with its format )?in its place", found)
    assert [place in one for one in instead] == [True]
    frame = pl.DataFrame([ROW]).clear()
    frame.select(parse_expression(text.replace(place, instead[0])))


def test_other_types_that_do_not_fit_are_not_about_times() -> None:
    assert hint('"user" > 5 AND ts IS NULL') is None
