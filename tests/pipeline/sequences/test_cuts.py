from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import DAY, MANY, QUICK, cut, sorted_out, spec_of

from heterrec_pipeline.sequences.cuts import cut_ms, find_cuts, temporal_cuts
from heterrec_pipeline.wiring.step import EMPTY
from heterrec_schemas.errors import DataError

COUNTS = st.dictionaries(st.integers(0, 12), st.integers(1, 6), min_size=1, max_size=8)
FRACTIONS = st.integers(0, 100).map(lambda n: n / 100) | st.floats(0, 1)


def first_day(part: float, days: dict[int, int]) -> int:
    """The first midnight, starting at the first interaction, with enough interactions before it."""
    total = sum(days.values())
    day = min(days)
    while sum(n for d, n in days.items() if d < day) < Fraction(str(part)) * total:
        day += 1
    return day * DAY


@MANY
@given(COUNTS, FRACTIONS)
def test_a_fraction_cuts_at_the_first_midnight_with_enough_before_it(
    days: dict[int, int], part: float
) -> None:
    ordered = sorted(days)
    counts = np.array([days[d] for d in ordered], dtype=np.int64)
    assert cut_ms(part, np.array(ordered, dtype=np.int64), counts) == first_day(part, days)


def test_a_fraction_is_the_decimal_that_was_written() -> None:
    """0.29 of 100 is 29, though 0.29 * 100 is more than 28.999999999999996."""
    days, counts = np.array([0, 1]), np.array([29, 71])
    assert cut_ms(0.29, days, counts) == DAY
    assert cut_ms(0.07, np.array([0, 1]), np.array([7, 93])) == DAY
    assert cut_ms(0.290001, days, counts) == 2 * DAY


@pytest.mark.parametrize(
    ("time", "ms"),
    [
        ("1970-01-02T00:00:00Z", DAY),
        ("1970-01-02T00:00:00.001999Z", DAY + 1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1970-01-02T01:00:00+01:00", DAY),
    ],
)
def test_a_time_means_itself(time: str, ms: int) -> None:
    assert cut_ms(time, np.array([5]), np.array([1])) == ms


def spec_with(validation_at: Any, test_at: Any) -> Any:
    split = {"method": "temporal", "validation_at": validation_at, "test_at": test_at}
    return spec_of(split=split)


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=12),
    st.lists(st.integers(0, 12), max_size=3),
    FRACTIONS,
    FRACTIONS,
)
def test_the_days_of_all_buckets_are_added_up(
    counts: list[tuple[int, int]], points: list[int], one: float, other: float
) -> None:
    table = pa.table({"day": [d for d, _ in counts], "count": [n for _, n in counts]})
    low, high = sorted((one, other))
    days: Counter[int] = Counter()
    for day, count in counts:
        days[day] += count
    spec = spec_with(low, high)
    want = (first_day(low, days), first_day(high, days))
    assert temporal_cuts(spec, [p for p in cut(table, points) if len(p)]) == want
    main, _ = sorted_out(find_cuts(spec, (0, [EMPTY, table])))
    assert main == [want]


def test_a_cut_of_each_kind_may_cross_only_the_right_way() -> None:
    days = pa.table({"day": [10, 20], "count": [1, 1]})
    assert temporal_cuts(spec_with("1970-01-01", 0.5), [days]) == (0, 11 * DAY)
    late = datetime(1970, 2, 1, tzinfo=UTC).isoformat()
    with pytest.raises(DataError, match=r"got 1970-02-01T00:00:00Z and 1970-01-12T00:00:00Z"):
        temporal_cuts(spec_with(late, 0.5), [days])


def test_no_cuts_without_interactions_or_in_leave_one_out() -> None:
    days = pa.table({"day": [10], "count": [1]})
    assert temporal_cuts(spec_with(0.5, 0.9), []) is None
    assert temporal_cuts(spec_of(), [days]) is None
