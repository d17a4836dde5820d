"""Columns as expressions see them: in the types of their file, or in JSON lines of each cell."""

import math
from datetime import date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from heterrec_pipeline.reading.shaping.cells import (
    NOTHING,
    UNREADABLE,
    Cells,
    as_arrow,
    from_file,
    from_json,
    in_words,
    json_type,
    json_words,
    type_in_file,
)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (pa.array([1, None], pa.int32()), pl.Int32, [1, None]),
        (pa.array(["a", "", None]), pl.String, ["a", None, None]),
        (pa.array(["x", "y"]).dictionary_encode(), pl.String, ["x", "y"]),
        (pa.nulls(2), pl.Null, [None, None]),
        (pa.array([1.5], pa.float16()), pl.Float32, [1.5]),
        (pa.array([b"ab"], pa.binary(2)), pl.Binary, [b"ab"]),
        (
            pa.array([3_600_000, None], pa.timestamp("ms", "Europe/Paris")),
            pl.Datetime("ms"),
            [datetime(1970, 1, 1, 1), None],
        ),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(range(16))], pa.binary(16))),
            pl.String,
            ["00010203-0405-0607-0809-0a0b0c0d0e0f"],
        ),
    ],
)
def test_a_column_of_a_file_has_its_type(
    cells: pa.Array, kind: pl.DataType, values: list[Any]
) -> None:
    found = from_file(cells, empty_is_null=True)
    assert (found.dtype, found.to_list()) == (kind, values)
    assert type_in_file(cells.type) == kind


def test_types_that_no_expression_can_read() -> None:
    assert type_in_file(pa.decimal256(50, 2)) == UNREADABLE
    assert type_in_file(pa.dense_union([pa.field("a", pa.null())])) == UNREADABLE


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (None, NOTHING),
        (True, pl.Boolean),
        (1, pl.Int64),
        (-(2**63), pl.Int64),
        (2**63, pl.Int128),
        (-(2**127), pl.Int128),
        (2**127, UNREADABLE),
        (1.0, pl.Float64),
        ("", pl.String),
        ([], pl.List(NOTHING)),
        ([None, 1], pl.List(pl.Int64)),
        ([1, 2.5], pl.List(pl.Float64)),
        ([2**53 + 1, 2.5], pl.List(pl.String)),
        ([2**64], pl.List(pl.String)),
        ([1, "a", True], pl.List(pl.String)),
        ([[1], [], None], pl.List(pl.List(pl.Int64))),
        ([[1], ["a"]], pl.List(pl.List(pl.String))),
        ([1, [2]], UNREADABLE),
        ([{"a": 1}], UNREADABLE),
        ({"a": 1}, UNREADABLE),
    ],
)
def test_a_json_cell_decides_its_type(cell: Any, kind: pl.DataType) -> None:
    assert json_type(cell) == kind
    for cells in ([cell], [cell, None, "x", 1.5], [7, [1], cell]):
        at = cells.index(cell)
        found, unseen = from_json(cells)
        part = found.parts[0 if found.of is None else found.of[at]]
        assert part.dtype == (NOTHING if kind == UNREADABLE else kind)
        assert list(unseen) == ([at] if kind == UNREADABLE else [])


def test_lists_of_several_types_are_texts() -> None:
    cells, _ = from_json([[1, "a", True, 2.5, None], [2**53 + 1, 2.5], [1, 2.5]])
    assert [cells.cell(k) for k in range(3)] == [
        ["1", "a", "true", "2.5", None],
        [str(2**53 + 1), "2.5"],
        [1.0, 2.5],
    ]


def test_lists_of_too_many_levels_are_no_values() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cells, unseen = from_json([deep, 1])
    assert (cells.cell(0), cells.cell(1)) == (None, 1)
    assert unseen == {0: "a value of too many levels"}
    while deep:  # the interpreter would fail to free it at once
        deep = deep.pop()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2.5], pa.array([1.0, None, 2.5])),
        ([2**53 + 1, 2.0], pa.array([2**53 + 1, 2])),
        ([2**53 + 1, 2.5], pa.array([str(2**53 + 1), "2.5"])),
        ([1, "a", True], pa.array(["1", "a", "true"])),
        ([2**64, 1], pa.array([str(2**64), "1"])),
        ([None, None], pa.nulls(2)),
        ([1, [2]], pa.array([b"1", b"[2]"])),
    ],
)
def test_values_of_several_types_are_a_column_as_in_json_lines(
    values: list[Any], expected: pa.Array
) -> None:
    cells, _ = from_json(values)
    assert as_arrow(cells, "a", "a.jsonl").equals(expected)


def test_values_that_json_lacks_are_texts_among_others() -> None:
    parts = (
        pl.Series([date(2026, 1, 1), None]),
        pl.Series([None, 5], dtype=pl.Decimal(38, 0)),
    )
    of = pl.Series([0, 1]).to_numpy()
    assert as_arrow(Cells(parts, of), "a", "a.jsonl").to_pylist() == ["2026-01-01", "5"]
    small = pl.Series([None, 5], dtype=pl.Int8)
    nan = pl.Series([math.nan, None])
    assert as_arrow(Cells((nan, small), of), "a", "a.jsonl").type == pa.float64()


def test_the_cells_of_a_reject() -> None:
    assert in_words({"t": "N/A"}) == "N/A"
    assert in_words({"t": "N/A", "n": 5, "l": ["x"]}) == "t: N/A, n: 5, l: ['x']"


@pytest.mark.parametrize("deep", [17, 60])
def test_more_than_16_levels_are_no_value(deep: int) -> None:
    cell: Any = 1
    for _ in range(deep):
        cell = [cell]
    assert json_type(cell) == UNREADABLE
    assert json_words(cell) == "a value of too many levels"
    inner: Any = 1
    for _ in range(16):
        inner = [inner]
    assert json_type(inner) != UNREADABLE


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.decimal256(76, 38)),
        pa.struct([("a", pa.decimal256(76, 38))]),
        pa.list_(pa.month_day_nano_interval()),
        pa.map_(pa.string(), pa.decimal256(76, 38)),
    ],
)
def test_a_panic_of_polars_is_a_type_that_no_expression_can_read(kind: pa.DataType) -> None:
    assert type_in_file(kind) == UNREADABLE
    assert from_file(pa.nulls(2, kind), empty_is_null=False).to_list() == [None, None]


def test_elements_of_lists_have_the_types_of_other_cells() -> None:
    zone = pa.array([[0], None, [None, 3_600_000], []], pa.list_(pa.timestamp("ms", "Asia/Tokyo")))
    found = from_file(zone, empty_is_null=False)
    assert found.dtype == pl.List(pl.Datetime("ms"))
    hours = [[datetime(1970, 1, 1)], None, [None, datetime(1970, 1, 1, 1)], []]
    assert found.to_list() == hours
    assert from_file(zone[1:3], empty_is_null=False).to_list() == hours[1:3]
    fixed = pa.array([[0], None], pa.list_(pa.timestamp("s", "UTC"), 1))
    assert from_file(fixed, empty_is_null=False).to_list() == [[datetime(1970, 1, 1)], None]
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), None], pa.binary(16)))
    of_uuids = pa.ListArray.from_arrays([0, 2], uuids)
    text = "00000000-0000-0000-0000-000000000000"
    assert from_file(of_uuids, empty_is_null=False).to_list() == [[text, None]]
    assert type_in_file(pa.list_(pa.list_(pa.uuid()))) == pl.List(pl.List(pl.String))
