from itertools import product

import pyarrow as pa
import pytest

from heterrec_pipeline.reading.column_types import (
    cast_todo,
    dates_as_times,
    mixed_of,
    of_dates_and_times,
    unified,
)
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.feature_spec import Source

UTC_MS, LOCAL_US = pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Berlin")
WORDS = pa.dictionary(pa.int8(), pa.string())
TYPES = [
    *map(pa.type_for_alias, ("null", "bool", "int8", "int64", "uint8", "uint32", "uint64")),
    *map(pa.type_for_alias, ("float16", "float32", "float64", "date32", "date64")),
    *map(pa.type_for_alias, ("string", "large_string", "string_view", "binary", "large_binary")),
    *(pa.timestamp("s"), UTC_MS, LOCAL_US, pa.timestamp("ns"), pa.time32("s"), pa.time64("ns")),
    *(pa.decimal128(10, 2), pa.decimal128(20, 0), pa.decimal256(76, 0), pa.decimal128(38, 38)),
    *(WORDS, pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.int64())),
    *(pa.list_(pa.int8()), pa.list_(pa.float32(), 4), pa.list_(pa.float64(), 4)),
    *(pa.large_list(pa.null()), pa.list_(pa.string()), pa.uuid(), pa.binary(16)),
    pa.struct([("a", pa.int8())]),
    pa.struct([("b", WORDS), ("a", pa.float32())]),
    pa.struct([("a", pa.string())]),
    pa.map_(pa.string(), pa.int8()),
]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int8(), pa.uint8(), pa.int16()),
        (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.int64(), pa.decimal128(10, 2), pa.decimal128(22, 2)),
        (pa.float32(), pa.decimal128(10, 2), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (WORDS, pa.string(), pa.string()),
        (pa.timestamp("s"), UTC_MS, UTC_MS),
        (UTC_MS, LOCAL_US, pa.timestamp("us", "UTC")),
        (pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("us")),
        (pa.date32(), UTC_MS, UTC_MS),
        (pa.date32(), pa.timestamp("ns"), pa.timestamp("us")),
        (pa.list_(pa.float32()), pa.list_(pa.float64(), 4), pa.large_list(pa.float64())),
        (pa.list_(pa.int8(), 4), pa.list_(pa.float64(), 4), pa.list_(pa.float64(), 4)),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (TYPES[-4], TYPES[-3], pa.struct([("a", pa.float64()), ("b", WORDS)])),
        (pa.int64(), pa.string(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.list_(pa.int64()), pa.int64(), None),
        (TYPES[-4], TYPES[-2], None),
        (pa.int64(), UTC_MS, None),
    ],
)
def test_two_types_become_one(
    one: pa.DataType, other: pa.DataType, both: pa.DataType | None
) -> None:
    assert unified(one, other) == both


def test_no_order_of_types_decides() -> None:
    for one, other in product(TYPES, TYPES):
        assert unified(one, other) == unified(other, one)
        assert unified(one, one) == one == unified(pa.null(), one)
    pairs = {(a, b): unified(a, b) for a, b in product(TYPES, TYPES)}
    for a, b, c in product(TYPES, TYPES, TYPES):
        left, right = pairs[a, b], pairs[b, c]
        assert (left and unified(left, c)) == (right and unified(a, right)), (a, b, c)


def test_cells_of_different_kinds_are_text_or_json() -> None:
    assert mixed_of([pa.int64(), pa.bool_(), pa.null()]) == pa.string()
    assert mixed_of([pa.int64(), pa.list_(pa.int64())]) == pa.binary()
    assert mixed_of([pa.struct([("a", pa.int8())]), pa.int64()]) == pa.struct([])


def test_dates_among_times_are_midnights() -> None:
    assert of_dates_and_times([pa.list_(pa.date32()), pa.list_(UTC_MS)])
    assert not of_dates_and_times([pa.date32(), pa.date64()])
    days = pa.array([1, None], pa.int32()).cast(pa.date32())
    for cells in (days, days.dictionary_encode(), days.cast(pa.date64())):
        assert dates_as_times(cells).cast(pa.int64()).to_pylist() == [86_400, None]
    lists = dates_as_times(pa.array([[days[0]], None], pa.list_(pa.date32())))
    assert lists.flatten().cast(pa.int64()).to_pylist() == [86_400]
    times = pa.array([5], UTC_MS)
    assert dates_as_times(times) is times


def test_lists_of_a_derived_column_are_not_cast_to_text() -> None:
    source = Source(path="a", columns={"c": "l"})
    file = InputFile("a", "a", 1, "parquet", source=source)
    todo = cast_todo("c", [pa.large_list(pa.int64()), pa.string()], file)
    assert "ARRAY_TO_STRING" in todo
    assert "CAST" not in todo
    assert "CAST(... AS VARCHAR) around" in cast_todo("c", [pa.int64(), pa.string()], file)
