"""Aggregation of the rows of items, at once and in reduced pieces."""

import itertools
import json
import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, cut, embedding, numeric, table_job

from heterrec_pipeline.items.aggregate import ITEM, ORDER, TIME, aggregate, item_rows, reduce_rows
from heterrec_pipeline.items.from_log import concatenated
from heterrec_pipeline.reading.formats.jsonl import typed
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.values import value_text

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


def test_two_features_of_one_column_are_aggregated_apart() -> None:
    features = numeric("low", column="price", aggregate="mean"), numeric("high", column="price")
    events: list[Event] = [("a", 0, None, None), ("a", 1, None, None)]
    rows = rows_of(events, pa.array([1.0, 2.0]), "price")
    found = aggregated(list(features), [rows])
    assert found.to_pydict() == {ITEM: ["a"], "low": [1.5], "high": [2.0]}
    assert cut(found, []) == [found]


def test_reduced_rows_are_few_and_in_the_order_of_hashes() -> None:
    events: list[Event] = [(f"i{k % 5}", k, None, None) for k in range(100)]
    events += [("late", 7, None, None)]
    table = table_job(categorical(), numeric(aggregate="mean"))
    kinds = ["a" if k < 95 else None for k in range(101)]
    rows = rows_of(events, pa.array(kinds), "kind").append_column("price", pa.array(range(101)))
    reduced = reduce_rows(table, item_rows(table, rows))
    assert len(reduced) == 11  # per item its latest row and the latest with a kind; late has one
    hashes = [stable_hash(item) for item in reduced[ITEM].to_pylist()]
    assert hashes == sorted(hashes)
    lists = reduced["__values_price"].to_pylist()
    assert sorted(len(values) for values in lists if values) == [1, 20, 20, 20, 20, 20]


def test_many_ties_of_time_and_order() -> None:
    events: list[Event] = [(f"i{k % 7}", k % 2, k % 3 - 1, f"v{k * 37 % 101}") for k in range(300)]
    rows = rows_of(events, pa.array([e[3] for e in events]), "kind")
    found = aggregated([categorical()], [rows.slice(0, 100), rows.slice(100)])
    expected = [latest(events, item, value_text) for item in found[ITEM].to_pylist()]
    assert found["kind"].to_pylist() == expected


def test_items_too_many_to_pack_are_sorted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [(f"i{k % 7}", k * 31 % 17, None, f"v{k}") for k in range(100)]
    rows = rows_of(events, pa.array([e[3] for e in events]), "kind")
    packed = aggregated([categorical()], [rows])
    monkeypatch.setattr("heterrec_pipeline.items.aggregate.MAX_PACKED", 0)
    assert aggregated([categorical()], [rows]) == packed


@pytest.mark.parametrize("column", [pa.array([1.0, -1.0]), pa.array(["1", "-1.00"])], ids=str)
def test_a_missing_number_is_never_the_latest(column: pa.Array) -> None:
    table = table_job(numeric(missing_values=[-1]))
    rows = rows_of([("a", 0, None, None), ("a", 1, None, None)], column, "price")
    assert aggregate(table, rows)["price"].to_pylist() == [column[0].as_py()]
