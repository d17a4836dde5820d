import itertools
import json
import math
import struct
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import (
    QUICK,
    bad_text_array,
    categorical,
    cut,
    embedding,
    job_of,
    numeric,
    sorted_out,
    spec_of,
    table_job,
    written_file,
)

from heterrec_pipeline.items.aggregate import (
    ITEM,
    ORDER,
    TIME,
    aggregate,
    item_rows,
    reduce_rows,
)
from heterrec_pipeline.items.from_log import (
    aggregate_columns,
    aggregate_items,
    concatenated,
    derived,
    readable_rows,
    reduce_to_buckets,
    to_items,
)
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.jsonl import typed
from heterrec_pipeline.reading.read import ROW, located, read_split
from heterrec_pipeline.wiring.reports import REJECTS
from heterrec_schemas.values import Seen, value_text

Event = tuple[str, int, int | None, Any]
"""item, time, order, cell"""


def rows_of(events: list[Event], column: pa.Array, name: str) -> pa.Table:
    return pa.table(
        {
            name: column,
            ITEM: pa.array([e[0] for e in events], pa.string()),
            TIME: pa.array([e[1] for e in events], pa.int64()),
            ORDER: pa.array([e[2] for e in events], pa.int64()),
        }
    )


def events_of(cells: Any) -> Any:
    # Few items and times: most values meet others of their time.
    return st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.none() | st.integers(-1, 1), cells),
        max_size=9,
    )


def aggregated(features: list[Any], pieces: list[pa.Table]) -> pa.Table:
    """The items of all rows, which must also be those of reduced pieces."""
    table = table_job(*features)
    rows = [item_rows(table, p) for p in pieces]
    found = aggregate(table, concatenated(rows))
    once = aggregate(table, concatenated([reduce_rows(table, r) for r in rows]))
    twice = aggregate(table, reduce_rows(table, reduce_rows(table, concatenated(rows))))
    for other in (once, twice):
        assert found[ITEM].to_pylist() == other[ITEM].to_pylist()
        for feature in features:
            cells = [[repr(c) for c in t[feature.name].to_pylist()] for t in (found, other)]
            assert cells[0] == cells[1] or feature.kind == "categorical"  # texts decide, not types
    return once


def latest(events: list[Event], item: str, text: Any) -> Any:
    """The text of the non-missing value of the latest time; ties: largest order, smallest text."""
    found = [
        (time, 2**63 if order is None else order, text(cell).encode())
        for name, time, order, cell in events
        if name == item and text(cell)
    ]
    if not found:
        return None
    top = max(f[:2] for f in found)
    return min(f[2] for f in found if f[:2] == top).decode()


CELLS = st.none() | st.sampled_from(["b", " a ", "", "?", "é", 2, 10, 1.5, True, math.nan])


@QUICK
@given(events_of(CELLS), st.lists(st.integers(0, 9), max_size=3), st.randoms())
def test_the_latest_value_whatever_the_types_and_batches(
    events: list[Event], points: list[int], order: Any
) -> None:
    feature = categorical(missing_values=["?"])
    shuffled = order.sample(events, len(events))
    at = [0, *sorted(min(p, len(events)) for p in points), len(events)]
    pieces = [shuffled[a:b] for a, b in itertools.pairwise(at)]
    tables = [rows_of(p, typed([e[3] for e in p], "kind", "f"), "kind") for p in pieces]
    found = aggregated([feature], tables)

    def text(cell: Any) -> str | None:
        made = value_text(cell)
        return None if made == "?" else made

    items = sorted({e[0] for e in events})
    assert found[ITEM].to_pylist() == items
    got = [value_text(c) for c in found["kind"].to_pylist()]
    assert got == [latest(events, i, text) for i in items]


LISTS = st.none() | st.lists(st.none() | st.sampled_from(["b", "a", 1]), max_size=2) | st.just("x")


@QUICK
@given(events_of(LISTS), st.lists(st.integers(0, 9), max_size=3))
def test_the_latest_list_whatever_the_shapes_and_batches(
    events: list[Event], points: list[int]
) -> None:
    at = [0, *sorted(min(p, len(events)) for p in points), len(events)]
    pieces = [events[a:b] for a, b in itertools.pairwise(at)]
    tables = [rows_of(p, typed([e[3] for e in p], "kind", "f"), "kind") for p in pieces]
    found = aggregated([categorical(multivalued=True)], tables)

    def text(cell: Any) -> str | None:
        if not isinstance(cell, list):
            return value_text(cell)
        texts = [value_text(c) for c in cell]
        return json.dumps(texts, separators=(",", ":")) if cell else None

    for item, cell in zip(found[ITEM].to_pylist(), found["kind"].to_pylist(), strict=True):
        made = json.loads(cell) if isinstance(cell, bytes) else cell
        assert text(made) == latest(events, item, text)


@QUICK
@given(events_of(st.none() | st.lists(st.sampled_from([-0.0, 0.0, 1.0, -2.5]), max_size=2)))
def test_the_latest_vector_ties_by_its_bytes(events: list[Event]) -> None:
    column = pa.array([e[3] for e in events], pa.list_(pa.float32()))
    feature = embedding(dim=2, groups=1)
    found = aggregated([feature], [rows_of(events, column, "look")])

    def text(cell: Any) -> str | None:
        return b"".join(struct.pack("<f", x + 0.0) for x in cell).hex() if cell else None

    for item, cell in zip(found[ITEM].to_pylist(), found["look"].to_pylist(), strict=True):
        assert text(cell) == latest(events, item, text)


NUMBERS = st.none() | st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float) | st.just(math.nan)


@QUICK
@given(events_of(NUMBERS), st.sampled_from(["mean", "median"]), st.booleans())
def test_means_and_medians_are_exact(events: list[Event], how: str, as_text: bool) -> None:
    cells = [e[3] for e in events]
    column = (
        pa.array([None if c is None else f" {c!r} " for c in cells], pa.string())
        if as_text
        else pa.array(cells, pa.float64())
    )
    feature = numeric(aggregate=how)
    found = aggregated(
        [feature],
        [rows_of(events[:4], column[:4], "price"), rows_of(events[4:], column[4:], "price")],
    )
    for item, value in zip(found[ITEM].to_pylist(), found["price"].to_pylist(), strict=True):
        mine = [c for name, _, _, c in events if name == item and c is not None]
        numbers = sorted(c for c in mine if not math.isnan(c))
        if not numbers:
            assert value is None or math.isnan(value)
        elif how == "mean":
            assert value == float(sum(map(Fraction, numbers))) / len(numbers)
        else:
            n = len(numbers)
            assert value == (numbers[(n - 1) // 2] + numbers[n // 2]) / 2


def one(feature: Any, cells: pa.Array) -> Any:
    """The value of one item over rows of ascending time."""
    events: list[Event] = [("a", k, None, None) for k in range(len(cells))]
    return aggregated([feature], [rows_of(events, cells, "price")])["price"].to_pylist()[0]


def test_a_mean_loses_no_small_values_beside_large_ones() -> None:
    assert one(numeric(aggregate="mean"), pa.array([1e16, 1.0, -1e16, 1.0])) == 0.5


def test_infinities_do_not_stop_a_mean() -> None:
    assert one(numeric(aggregate="mean"), pa.array([math.inf, 1.0])) == math.inf
    assert math.isnan(one(numeric(aggregate="mean"), pa.array([math.inf, -math.inf])))
    assert one(numeric(aggregate="mean"), pa.array([1e308, 1e308])) == math.inf
    assert one(numeric(aggregate="median"), pa.array([-math.inf, 1.0, math.inf])) == 1.0


def test_decimals_have_a_latest_and_a_mean() -> None:
    prices = pa.array([Decimal("2.50"), Decimal("1.00"), None])
    assert one(numeric(), prices) == Decimal("1.00")
    assert one(numeric(missing_values=["1"]), prices) == Decimal("2.50")
    assert one(numeric(aggregate="mean"), prices) == 1.75


@pytest.mark.parametrize(
    ("parts", "kind", "cells"),
    [
        ([pa.array([1]), pa.array([0.5])], pa.float64(), [1.0, 0.5]),
        ([pa.array([2**53 + 1]), pa.array([0.5])], pa.string(), ["9007199254740993", "0.5"]),
        ([pa.nulls(1), pa.array(["a"])], pa.string(), [None, "a"]),
        ([pa.array([True]), pa.array([1])], pa.string(), ["true", "1"]),
        (
            [pa.array([["a"]]), pa.array([[]], pa.list_(pa.null()))],
            pa.list_(pa.string()),
            [["a"], []],
        ),
        ([pa.array([["a"]]), pa.array(["b"])], pa.binary(), [b'["a"]', b'"b"']),
        ([pa.array([["a"]]), pa.array([[["b"]]])], pa.binary(), [b'["a"]', b'[["b"]]']),
        ([pa.array([[0.5]]), pa.array([b'"x"', None])], pa.binary(), [b"[0.5]", b'"x"', None]),
        ([pa.array([0.5]), pa.array([b'"x"', None])], pa.binary(), [b"0.5", b'"x"', None]),
    ],
)
def test_columns_of_several_types_become_one(
    parts: list[pa.Array], kind: pa.DataType, cells: list[Any]
) -> None:
    whole = concatenated([pa.table({"x": p}) for p in parts])
    assert (whole["x"].type, whole["x"].to_pylist()) == (kind, cells)


# --- out of the log

FEATURES = [categorical().model_dump(), numeric(aggregate="mean").model_dump()]
SPEC = spec_of(
    items={"source": "interactions", "features": FEATURES}, interactions={"order": "place"}
)
LOG = b"""item,time,place,price,kind,user
a,1,2,5,x,u
b,1,,x,,u
,1,1,1,x,u
a,-1,1,1,x,u
a,z,1,1,x,u
a,2,odd,6,y,
b,3,1,7,,u
"""


def log_rows(folder: Path) -> pa.Table:
    table = table_job(*SPEC.items.features)
    split = Split(written_file(folder / "log.csv", LOG))
    (batch,) = read_split(split, aggregate_columns(SPEC, table))
    return pa.Table.from_batches([located(batch, split)])


def test_every_row_with_a_readable_item_and_time_counts(tmp_path: Path) -> None:
    table = table_job(*SPEC.items.features)
    assert aggregate_columns(SPEC, table) == ["item", "time", "place", "kind", "price"]
    rows, seen = readable_rows(SPEC, table, log_rows(tmp_path))
    assert rows.to_pydict() == {
        ROW: [0, 1, 5, 6],
        "kind": ["x", "", "y", ""],
        "price": ["5", "x", "6", "7"],
        ITEM: ["a", "b", "a", "b"],
        TIME: [1, 1, 2, 3],
        ORDER: [2, None, None, 1],
    }
    assert seen == Seen.TEXT
    plain = spec_of(items={"source": "interactions", "features": FEATURES})
    assert readable_rows(plain, table, log_rows(tmp_path))[0][ORDER].null_count == 4


@pytest.mark.parametrize("buckets", [1, 7])
def test_a_log_becomes_splits_of_item_rows(tmp_path: Path, buckets: int) -> None:
    job = job_of(SPEC, tmp_path)
    made, tagged = sorted_out(to_items(job, log_rows(tmp_path)))
    pieces = list(reduce_to_buckets(job.items, buckets, made))
    assert sorted(tagged[SEEN]) == [("item/kind", Seen.TEXT), ("items", Seen.TEXT)]
    rejects = [r for t in tagged[REJECTS] for r in t.to_pylist()]
    assert [(r["source"], r["row"], r["column"], r["reason"]) for r in rejects] == [
        ("interactions", 1, "price", "not_a_number")
    ]
    found: dict[str, dict[str, Any]] = {}
    for bucket in {b for b, _ in pieces}:
        element = (bucket, {"items": [t for b, t in pieces if b == bucket]})
        ((split,), _) = sorted_out(aggregate_items(job, element))
        assert split.file.bytes == Path(split.file.path).stat().st_size
        for row in pq.read_table(split.file.path).to_pylist():
            found[row.pop(ITEM)] = row
    assert found == {"a": {"kind": "y", "price": 5.5}, "b": {"kind": None, "price": 7.0}}


def test_a_text_that_is_not_utf8_is_rejected_and_missing(tmp_path: Path) -> None:
    columns = {
        "item": bad_text_array(b"a", b"a", b"\xff", b"b"),
        "time": [1, 2, 3, 4],
        "place": bad_text_array(b"1", b"2", b"3", b"\xfe"),
        "kind": bad_text_array(b"x", b"\xe9", b"\xe9", b"y"),
        "price": bad_text_array(b"5", b"6", b"7", b"8"),
    }
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    job = job_of(SPEC, tmp_path)
    split = Split(InputFile(str(path), "log.parquet", path.stat().st_size, "parquet"))
    (batch,) = read_split(split, aggregate_columns(SPEC, job.items))
    rows = pa.Table.from_batches([located(batch, split)])
    pieces, tagged = sorted_out(to_items(job, 1, rows))
    rejects = [r for t in tagged[REJECTS] for r in t.to_pylist()]
    assert [(r["row"], r["column"], r["reason"], r["value"]) for r in rejects] == [
        (1, "kind", "not_utf8", "\\xe9")
    ], "the log rejects the rows whose item or order is bad"
    ((split,), _) = sorted_out(aggregate_items(job, (0, {"items": [t for _, t in pieces]})))
    assert {r[ITEM]: r["kind"] for r in pq.read_table(split.file.path).to_pylist()} == {
        "a": "x",
        "b": "y",
    }


@pytest.mark.parametrize("column", [pa.array([1.0, -1.0]), pa.array(["1", "-1.00"])], ids=str)
def test_a_missing_number_is_never_the_latest(column: pa.Array) -> None:
    table = table_job(numeric(missing_values=[-1]))
    rows = rows_of([("a", 0, None, None), ("a", 1, None, None)], column, "price")
    assert aggregate(table, rows)["price"].to_pylist() == [column[0].as_py()]


def test_item_rows_are_read_by_the_features_own_names() -> None:
    table = derived(table_job(categorical("kind", column="Category"), numeric()))
    assert (table.key, [f.column for f in table.features]) == (ITEM, ["kind", "price"])
    assert table.features[0].name == "kind"


def test_two_features_of_one_column_are_aggregated_apart() -> None:
    features = numeric("low", column="price", aggregate="mean"), numeric("high", column="price")
    events: list[Event] = [("a", 0, None, None), ("a", 1, None, None)]
    rows = rows_of(events, pa.array([1.0, 2.0]), "price")
    found = aggregated(list(features), [rows])
    assert found.to_pydict() == {ITEM: ["a"], "low": [1.5], "high": [2.0]}
    assert cut(found, []) == [found]
