import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.value_columns import MAX_TEXT_BYTES, column_text
from heterrec_schemas.values import (
    BLANKS,
    Seen,
    clean_text,
    is_binary,
    is_scalar,
    is_text,
    value_text,
)

WHOLE = st.integers(-(2**63), 2**63 - 1)
# Decomposed and composed letters, blanks that strip() knows, and blanks that it does not.
LETTERS = st.sampled_from([*"abÅé", "e\u0301", "A\u030a", "\u1100\u1161", "\u200b", *BLANKS])
TEXT = st.text() | st.lists(LETTERS, max_size=8).map("".join)
EARLY, LATE = datetime(1, 1, 2), datetime(9999, 12, 30)
MOMENTS = st.datetimes(EARLY, LATE)

COLUMNS = {
    "string": (pa.string(), TEXT),
    "large_string": (pa.large_string(), TEXT),
    "string_view": (pa.string_view(), TEXT),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), TEXT),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), WHOLE),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float32": (pa.float32(), st.floats(width=32) | st.integers(-9, 9).map(float)),
    "float64": (pa.float64(), st.floats() | WHOLE.map(float)),
    "bool": (pa.bool_(), st.booleans()),
    "date32": (pa.date32(), st.dates()),
    "date64": (pa.date64(), st.dates()),
    "time32": (pa.time32("s"), st.times().map(lambda t: t.replace(microsecond=0))),
    "time64": (pa.time64("us"), st.times()),
    "timestamp": (pa.timestamp("us"), MOMENTS),
    "timestamp UTC": (pa.timestamp("us", "UTC"), MOMENTS.map(lambda t: t.replace(tzinfo=UTC))),
    "timestamp +05:30": (
        pa.timestamp("us", "+05:30"),
        MOMENTS.map(lambda t: t.replace(tzinfo=UTC)),
    ),
    "null": (pa.null(), st.none()),
}


@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
def test_a_column_reads_as_its_cells_do(name: str, data: st.DataObject) -> None:
    kind, cells = COLUMNS[name]
    values = data.draw(st.lists(st.none() | cells, max_size=30))
    column = pa.array(values, kind)
    text, seen = column_text(column, "x")
    assert text.to_list() == [value_text(v) for v in column.to_pylist()]
    assert seen == seen_by_cell(column.to_pylist())


def seen_by_cell(cells: list[Any]) -> Seen:
    """The kinds of the cells of one column, one by one."""
    seen = Seen.NOTHING
    for cell in cells:
        if value_text(cell) is None:
            continue
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            seen |= Seen.TEXT
        elif isinstance(cell, float) and not cell.is_integer():
            seen |= Seen.FRACTION
        else:
            inside = -(2**63) <= cell < 2**63
            seen |= Seen.WHOLE if inside else Seen.TEXT
    # Integers beyond 64 bits make their whole batch text.
    if cells and all(isinstance(c, int) or c is None for c in cells) and Seen.TEXT in seen:
        return Seen.TEXT
    return seen


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  a b ", "a b"),
        ("e\u0301", "\u00e9"),
        ("\x1f\u3000", None),
        ("", None),
        (None, None),
        (math.nan, None),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-0.0, "0"),
        (3.0, "3"),
        (1e22, "10000000000000000000000"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (math.inf, "inf"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(9, 5), "09:05:00"),
        (datetime(2024, 1, 31, 12), "2024-01-31T12:00:00Z"),
        (datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), "2024-01-31T10:00:00Z"),
        (datetime(2024, 1, 31, 12, 0, 0, 5000, UTC), "2024-01-31T12:00:00.005000Z"),
    ],
)
def test_text_of_a_value(value: object, text: str | None) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", object()])
def test_other_values_have_no_text(value: object) -> None:
    with pytest.raises(TypeError, match="not text, a number, a boolean, a date or a time"):
        value_text(value)


@given(TEXT)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_text(text)
    assert once is None or clean_text(once) == once


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.binary(),
        pa.decimal128(5, 2),
        pa.duration("s"),
        pa.struct([("a", pa.int64())]),
    ],
)
def test_other_columns_are_refused(kind: pa.DataType) -> None:
    assert not is_scalar(kind)
    with pytest.raises(SchemaMismatchError, match=r"column 'x' cannot be a key .* got") as caught:
        column_text(pa.nulls(2, kind), "x")
    assert str(kind) in caught.value.message


def test_an_unnamed_column_is_still_refused_by_words() -> None:
    with pytest.raises(SchemaMismatchError, match="column 'column'"):
        column_text(pa.array([b"x"]))


@pytest.mark.parametrize(
    ("cells", "kind", "integral"),
    [
        ([1, None], pa.int32(), True),
        ([1.0, None, math.nan], pa.float64(), True),
        ([1.0, 2.5], pa.float64(), False),
        ([2**63], pa.uint64(), False),
        ([1e19], pa.float64(), False),
        (["1"], pa.string(), False),
        ([True], pa.bool_(), False),
        ([None], pa.int64(), False),
        ([math.inf], pa.float64(), False),
    ],
)
def test_only_whole_numbers_are_stored_as_integers(
    cells: list[Any], kind: pa.DataType, integral: bool
) -> None:
    assert column_text(pa.array(cells, kind))[1].integral is integral


def test_a_batch_of_fractions_decides_for_all_batches() -> None:
    batches = [pa.array([1.0, 2.0]), pa.array([], pa.float64()), pa.array([0.5])]
    seen = Seen.NOTHING
    for batch in batches:
        seen |= column_text(batch)[1]
    assert seen == Seen.WHOLE | Seen.FRACTION
    assert not seen.integral


def test_text_types() -> None:
    assert is_text(pa.dictionary(pa.int8(), pa.large_string()))
    assert is_text(pa.string_view())
    assert not is_text(pa.binary())
    assert not is_text(pa.dictionary(pa.int8(), pa.int64()))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16)])
def test_bytes_of_any_layout(kind: pa.DataType) -> None:
    assert is_binary(kind)
    assert not is_binary(pa.string())


@pytest.mark.parametrize(
    ("kind", "moments", "texts"),
    [
        (pa.date32(), [2**31 - 1, None, -719_163], ["5881580-07-11", None, "0000-12-31"]),
        (pa.date64(), [10**17, 86_400_000], ["3170843-11-07", "1970-01-02"]),
        (
            pa.timestamp("s"),
            [2**62, 2**43, 0],
            [
                "146138514283-06-19T07:45:04Z",
                "280707-02-04T04:50:08.000000Z",
                "1970-01-01T00:00:00Z",
            ],
        ),
        (pa.timestamp("us"), [2**63 - 1], ["294247-01-10T04:00:54.775807Z"]),
    ],
)
def test_times_that_python_has_not(
    kind: pa.DataType, moments: list[int | None], texts: list[str | None]
) -> None:
    found, seen = column_text(pa.array(moments, kind))
    assert (found.to_list(), seen) == (texts, Seen.TEXT)


def test_a_text_that_is_no_key() -> None:
    longest = pa.array(["x", "é" * (MAX_TEXT_BYTES // 2)])
    assert column_text(longest)[0].to_list() == longest.to_pylist()
    with pytest.raises(SchemaMismatchError, match=r"'c' has a value of 65,537 bytes.*LEFT"):
        column_text(pa.array(["x" * (MAX_TEXT_BYTES + 1)]), "c")
