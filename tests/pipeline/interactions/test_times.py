import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY

from heterrec_pipeline.interactions.times import day_of, describe, iso, milliseconds
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import Timestamp
from heterrec_schemas.tables import END_MS

PER_UNIT = {
    "s": Fraction(1000),
    "ms": Fraction(1),
    "us": Fraction(1, 1000),
    "ns": Fraction(1, 10**6),
    "day": Fraction(86_400_000),
}
UNITS = st.sampled_from(sorted(PER_UNIT))
INT_TYPES = {
    pa.int8(): 7,
    pa.int16(): 15,
    pa.int32(): 31,
    pa.int64(): 63,
    pa.uint8(): 8,
    pa.uint16(): 16,
    pa.uint32(): 32,
    pa.uint64(): 64,
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OUT = -1


def read(column: pa.Array, unit: Any = None, form: str | None = None) -> list[int | None]:
    return milliseconds(column, Timestamp(column="t", unit=unit, format=form)).to_list()


def bounded(ms: int) -> int:
    return ms if 0 <= ms < END_MS else OUT


def exact(number: Fraction, unit: str) -> int:
    return bounded(math.floor(number * PER_UNIT[unit]))


def of_text(text: str | None, unit: str) -> int | None:
    """A number as text, parsed by Decimal and converted with rational arithmetic."""
    try:
        number = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if number and number.adjusted() > 100:
        return OUT
    if number and number.adjusted() < -100:
        return 0 if number > 0 else OUT
    return exact(Fraction(number), unit)


def test_the_end_is_2200() -> None:
    assert datetime(2200, 1, 1, tzinfo=UTC) - EPOCH == timedelta(milliseconds=END_MS)


@MANY
@given(st.data(), st.sampled_from(sorted(INT_TYPES, key=str)), UNITS)
def test_integers_of_every_width(data: st.DataObject, kind: pa.DataType, unit: str) -> None:
    bits = INT_TYPES[kind]
    low = 0 if str(kind).startswith("u") else -(2**bits)
    edge = math.ceil(END_MS / PER_UNIT[unit])
    near = st.integers(edge - 3, edge + 3).filter(lambda n: n < 2**bits)
    numbers = st.integers(low, 2**bits - 1) | (near if edge + 3 < 2**bits else st.nothing())
    cells = data.draw(st.lists(numbers | st.none(), max_size=5))
    want = [None if c is None else exact(Fraction(c), unit) for c in cells]
    assert read(pa.array(cells, kind), unit) == want


# Around the ends of the range and parts of milliseconds, where rounding would show.
AMOUNTS = st.floats() | st.floats(-2, 2) | st.floats(0, 1e11) | st.integers(0, 10**10).map(float)


@MANY
@given(st.lists(AMOUNTS | st.none(), max_size=5), UNITS)
def test_a_float_is_its_shortest_text(cells: list[float | None], unit: str) -> None:
    texts = [None if c is None else repr(c) for c in cells]
    assert read(pa.array(cells, pa.float64()), unit) == [of_text(t, unit) for t in texts]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()])
def test_small_floats_are_the_numbers_they_hold(kind: pa.DataType) -> None:
    cells = [np.float16(v) if kind == pa.float16() else np.float32(v) for v in (1.5, 0.1, -1, 2000)]
    assert read(pa.array(cells, kind), "s") == [of_text(repr(float(c)), "s") for c in cells]


DIGITS = st.integers(0, 10**15).map(str)
NUMBER_TEXTS = (
    st.builds("{}.{}".format, DIGITS, DIGITS)
    | st.builds("{}e{}".format, DIGITS, st.integers(-40, 40))
    | st.decimals(allow_nan=True, allow_infinity=True).map(str)
    | st.integers(-(10**30), 10**30).map(str)
    | st.text("0123456789.eE+-_ \t", max_size=8)
)


@MANY
@given(st.lists(NUMBER_TEXTS | st.none(), max_size=5), UNITS)
def test_numbers_as_text_are_exact(cells: list[str | None], unit: str) -> None:
    assert read(pa.array(cells, pa.string()), unit) == [of_text(c, unit) for c in cells]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1e9", 1_000_000_000_000),
        (" 12 ", 12_000),
        ("\u30001\u2003\x1c", 1000),
        ("1_000", 1_000_000),
        ("+5", 5000),
        ("-0", 0),
        ("0.0019999999999999999999999999999999999999", 1),
        ("-1e-9999999", OUT),
        ("1e-9999999", 0),
        ("1e30000000", OUT),
        ("7258118399.999999999999999999999999999999", END_MS - 1),
        ("7258118400", OUT),
        ("18446744073709551616", OUT),
        ("0x10", None),
        ("NaN", None),
        ("sNaN", None),
        ("inf", None),
        ("1 2", None),
        ("", None),
        (" ", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_odd_texts_of_seconds(text: str | None, seconds: int | None, kind: pa.DataType) -> None:
    assert read(pa.array([text], kind), "s") == [seconds]


def test_a_dictionary_reads_as_its_values() -> None:
    assert read(pa.array(["5", "x", "5", None]).dictionary_encode(), "s") == [
        5000,
        None,
        5000,
        None,
    ]
    assert read(pa.array([5, 6, 5]).dictionary_encode(), "s") == [5000, 6000, 5000]


# --- typed times


@MANY
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**18) | st.none(), max_size=5),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from([None, "UTC", "+05:30"]),
)
def test_timestamps_are_floored_instants(
    ticks: list[int | None], unit: str, zone: str | None
) -> None:
    column = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, zone))
    want = [None if t is None else exact(Fraction(t), unit) for t in ticks]
    assert read(column) == want
    assert read(column, "iso") == want, "a typed column is what it is, whatever unit is said"


@MANY
@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 90_000) | st.none(), max_size=5))
def test_dates_are_midnights(days: list[int | None]) -> None:
    want = [None if d is None else exact(Fraction(d), "day") for d in days]
    assert read(pa.array(days, pa.int32()).cast(pa.date32())) == want


def test_dates_in_milliseconds() -> None:
    column = pa.array([date(1970, 1, 3), date(1969, 12, 31), date(2200, 1, 1), None], pa.date64())
    assert read(column) == [2 * 86_400_000, OUT, OUT, None]


def test_a_column_of_nulls_has_no_times() -> None:
    assert read(pa.nulls(2), "s") == [None, None]


# --- times as text

ZONES = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(timezones=ZONES) | st.datetimes(
    datetime(1969, 12, 30), datetime(1970, 1, 3), timezones=ZONES
)


def of_moment(moment: datetime) -> int:
    aware = moment.replace(tzinfo=moment.tzinfo or UTC)
    return bounded((aware - EPOCH) // timedelta(milliseconds=1))


@MANY
@given(st.lists(MOMENTS, max_size=4), st.sampled_from(["T", " "]))
def test_iso_texts_are_utc_where_they_name_no_zone(moments: list[datetime], between: str) -> None:
    texts = [f" {m.isoformat(between)}" for m in moments]
    want = [of_moment(m) for m in moments]
    assert read(pa.array(texts, pa.string()), "iso") == want
    assert read(pa.array(texts, pa.string())) == want, "without a unit, text is ISO"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01 00:00:01 UTC", 1000),
        ("1970-01-01T00:00:01Z", 1000),
        ("19700101T000001", 1000),
        ("1970-01-01T00:00:00.0019999", 1),
        ("1970-01-01T01:00:00+02:00", OUT),
        ("2199-12-31T23:59:59.999", END_MS - 1),
        ("2199-12-31T23:30:00-01:00", OUT),
        ("0001-01-01T00:00:00+14:00", OUT),
        ("1970-02-30", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_odd_iso_texts(text: str, ms: int | None) -> None:
    assert read(pa.array([text]), "iso") == [ms]


@MANY
@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2300, 1, 1), timezones=ZONES)))
def test_formats_are_those_of_strptime(moments: list[datetime]) -> None:
    aware = [m.replace(tzinfo=m.tzinfo or UTC, microsecond=0) for m in moments]
    form = "%d/%m/%Y %H:%M:%S %z"
    texts = [m.strftime(form) for m in aware]
    assert read(pa.array(texts, pa.string()), None, form) == [of_moment(m) for m in aware]


def test_text_that_a_format_does_not_fit_is_unreadable() -> None:
    assert read(pa.array(["2024", " 1971 ", "", None, "1971 "]), None, "%Y") == [
        1_704_067_200_000,
        31_536_000_000,
        None,
        None,
        31_536_000_000,
    ]


@pytest.mark.parametrize(
    ("column", "unit", "form", "got"),
    [
        (pa.array([1]), "iso", None, "int64 with unit: iso"),
        (pa.array([1.0]), None, "%Y", "double with format: '%Y'"),
        (pa.array([1]), None, None, "int64 with neither unit nor format"),
        (pa.array([True]), "s", None, "bool with unit: s"),
        (pa.array([[1]]), "s", None, "list<item: int64> with unit: s"),
    ],
)
def test_a_type_that_no_unit_fits_is_refused_by_name(
    column: pa.Array, unit: Any, form: str | None, got: str
) -> None:
    with pytest.raises(SchemaMismatchError) as error:
        read(column, unit, form)
    assert "'t'" in error.value.message
    assert f"got {got}," in error.value.message


def test_words_for_messages() -> None:
    assert describe(Timestamp(column="t", unit="ns")) == "unit: ns"
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(1_500) == "1970-01-01T00:00:01.500000Z"
    assert day_of(np.array([0, 86_399_999, 86_400_000])).tolist() == [0, 0, 1]


def test_decimals_are_exact() -> None:
    cells = [Decimal("1600000000.9999"), Decimal("1.2345"), Decimal("-1"), None]
    column = pa.array(cells, pa.decimal128(38, 4))
    found = milliseconds(column, Timestamp(column="t", unit="s"))
    assert found.to_list() == [1_600_000_000_999, 1_234, -1, None]
