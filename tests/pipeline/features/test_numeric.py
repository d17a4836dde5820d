import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, QUICK, cut, numeric

from heterrec_pipeline.features.numeric import (
    collect,
    edges,
    encode,
    equals_missing,
    is_number_like,
    merge,
    numbers,
    parse,
)
from heterrec_pipeline.reading.formats.jsonl import typed
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.values import clean_text


def bits(values: Any) -> list[bytes]:
    """Floats for an exact comparison: all NaN alike, -0.0 not 0.0."""
    return [b"nan" if math.isnan(v) else struct.pack("<d", v) for v in values]


def of_text(text: str | None, missing: list[str]) -> tuple[float, bool]:
    """The number of a text, NaN where there is none, and whether it is a bad cell."""
    cleaned = None if text is None else clean_text(text)
    if cleaned is None or cleaned in missing:
        return math.nan, False
    if cleaned in ("true", "false"):
        cleaned = "1" if cleaned == "true" else "0"
    try:
        number = float(cleaned) + 0.0
    except ValueError:
        return math.nan, True
    return (math.nan if str(number) in [f"{m}.0" for m in missing] else number), False


TEXTS = (
    st.text("0123456789+-.eE_ infatyN\u0661x", max_size=8)
    | st.floats().map(repr)
    | st.integers().map(str)
    | st.decimals(allow_nan=False).map(str)
    | st.sampled_from(
        [
            "?",
            " ? ",
            "-0",
            "1,5",
            "nan",
            "true",
            "False",
            "7.00",
            "+7e0",
            "Infinity",
            "1_000",
            "1e999",
            "\u3000 7\x1c",
            "",
        ]
    )
)


@MANY
@given(st.lists(TEXTS | st.none(), max_size=5), st.sampled_from([[], ["?"], ["0", "7"]]))
def test_text_is_read_as_python_reads_it(cells: list[str | None], missing: list[str]) -> None:
    values, bad = numbers(numeric(missing_values=missing), pa.array(cells, pa.string()))
    want = [of_text(c, missing) for c in cells]
    assert bits(values) == bits(v for v, _ in want)
    odd = [(k, cells[k]) for k, (_, is_bad) in enumerate(want) if is_bad]
    assert [(c.position, c.value) for c in bad] == odd
    assert {c.reason for c in bad} <= {Reason.NOT_A_NUMBER}


NUMBERS: dict[Any, Any] = {
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.decimal128(38, 9): st.decimals(-(10**28), 10**28, places=9),
    pa.decimal256(60, 3): st.decimals(-(10**50), 10**50, places=3),
}


@QUICK
@given(st.data(), st.sampled_from(sorted(NUMBERS, key=str)))
def test_every_numeric_type_is_rounded_to_nearest(data: st.DataObject, kind: pa.DataType) -> None:
    cells = data.draw(st.lists(NUMBERS[kind] | st.none(), max_size=5))
    values, bad = numbers(numeric(), pa.array(cells, kind))
    assert bits(values) == bits(math.nan if c is None else float(c) + 0.0 for c in cells)
    assert bad == []


@pytest.mark.parametrize(
    ("column", "missing", "kept"),
    [
        (pa.array([-1, 0, 2**53 + 1, 2**53]), ["-1", 2**53 + 1], [0, 2**53]),
        (pa.array([-1, 0, 5]), ["-1.00", "5.5", "1e400", "none"], [0, 5]),
        (pa.array([2**64 - 1, 7], pa.uint64()), [2**64 - 1, -1], [7]),
        (pa.array([-1.0, 0.5, math.inf]), ["-1", "inf"], [0.5]),
        (pa.array([-99.9, 99.5], pa.float32()), [-99.9], [99.5]),
        (pa.array([-99.9, 99.5, math.inf], pa.float16()), [-99.9, 1e9], [99.5, math.inf]),
        (pa.array([float(np.float32(-99.9)), -99.9]), [-99.9], [float(np.float32(-99.9))]),
        (pa.array([Decimal("1.10"), Decimal("2.00")]), ["1.1"], [2.0]),
        (pa.array(["1", "x", "1"]).dictionary_encode(), ["x"], [1.0, 1.0]),
        (pa.array([" -1.00", "-1", "-1e0", "N/A", "-1.5"]), [-1, "N/A"], [-1.5]),
        (pa.array([0.0, -0.0, 3.0]), ["0"], [3.0]),
        (pa.array([True, False]), ["1"], [0.0]),
        (pa.array([True, False]), ["false"], [1.0]),
        (pa.nulls(2), ["x"], []),
    ],
)
def test_missing_values_are_compared_as_numbers(
    column: pa.Array, missing: list[Any], kept: list[float]
) -> None:
    feature = numeric(missing_values=missing)
    values, bad = numbers(feature, column)
    assert [v for v in values.tolist() if not math.isnan(v)] == kept
    assert bad == []


def test_only_numbers_equal_a_missing_value() -> None:
    feature = numeric(missing_values=["?", "-1", "nan"])
    column = pa.array(["x", "?", "-1.0", "-1", None, "2", "nan"])
    for cells in (column, column.dictionary_encode()):
        equal = equals_missing(feature, cells).tolist()
        assert equal == [False, False, True, True, False, False, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([True, False, None]),
        pa.array([True, False, None]).dictionary_encode(),
        typed([True, False, None], "c", "f"),
        typed([True, 0, None], "c", "f"),
        typed([True, 0.0, ""], "c", "f"),
    ],
)
def test_booleans_are_one_and_zero(column: pa.Array) -> None:
    values, bad = numbers(numeric(), column)
    assert bits(values) == bits([1.0, 0.0, math.nan])
    assert bad == []


@pytest.mark.parametrize("column", [pa.array([[1.0]]), pa.array([b"1"]), pa.array([{"a": 1}])])
def test_other_types_are_refused_by_name(column: pa.Array) -> None:
    assert not is_number_like(column.type)
    with pytest.raises(SchemaMismatchError) as error:
        numbers(numeric(), column)
    assert f"'price' has no numbers: got {column.type}, expected numbers" in error.value.message


# --- fit

ROWS = st.lists(
    st.tuples(
        st.integers(-3, 3) | st.sampled_from([math.inf, -math.inf, math.nan, None]),
        st.text(max_size=2),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[1],
)


@QUICK
@given(
    ROWS,
    st.integers(1, 6),
    st.integers(2, 5),
    st.lists(st.integers(0, 12), max_size=3),
    st.randoms(),
)
def test_the_fit_is_over_the_sample_of_the_smallest_hashes(
    rows: list[tuple[float | None, str]], limit: int, bins: int, points: list[int], order: Any
) -> None:
    feature = numeric(fit_sample=limit, bins=bins)
    shuffled = order.sample(rows, len(rows))
    table = pa.table(
        {
            "price": pa.array([v for v, _ in shuffled], pa.float64()),
            "key": pa.array([k for _, k in shuffled], pa.string()),
        }
    )
    parts = [
        collect(
            feature,
            parse(feature, p["price"].combine_chunks()).values,
            pl.Series(p["key"], dtype=pl.String),
            len(rows),
        )
        for p in cut(table, points)
    ]
    finite = [(stable_hash(k), k, float(v)) for v, k in rows if v is not None and math.isfinite(v)]
    best = sorted(v for _, _, v in sorted(finite)[: limit if len(rows) > limit else None])
    merged = merge(feature, [merge(feature, parts[:2]), *parts[2:]])
    if not best:
        with pytest.raises(DataError, match="'price': every value"):
            edges(feature, merged, "items")
        return
    want = {best[-(-(len(best) - 1) * i // bins)] for i in range(1, bins)}
    assert edges(feature, merged, "items").tolist() == sorted(want)


def test_a_small_population_needs_no_hashes() -> None:
    column = pa.array([1.0, math.nan])
    small = collect(numeric(fit_sample=2), column, pl.Series(["a", "b"]), 2)
    assert small.column_names == ["value"]
    large = collect(numeric(fit_sample=1), column, pl.Series(["a", "b"]), 2)
    assert large.column_names == ["value", "hash", "key"]


def test_given_boundaries_replace_the_fit_but_not_the_need_of_a_value() -> None:
    feature = numeric(bins=None, boundaries=[-0.0, 2])
    some = pa.table({"value": [5.0]})
    assert bits(edges(feature, some, "items")) == bits([0.0, 2.0])
    for nothing in (None, pa.table({"value": pa.array([], pa.float64())})):
        with pytest.raises(DataError, match="'price': every value of column 'price' in users"):
            edges(feature, nothing, "users")


def test_given_boundaries_are_content_with_infinities() -> None:
    column, keys = pa.array([math.inf, math.nan]), pl.Series(["a", "b"])
    given_ones = numeric(bins=None, boundaries=[2])
    assert edges(given_ones, collect(given_ones, column, keys, 2), "items").tolist() == [2.0]
    with pytest.raises(DataError):
        edges(numeric(), collect(numeric(), column, keys, 2), "items")


@QUICK
@given(
    st.lists(
        st.sampled_from(["1", "2", "2.5", "-inf", "inf", "nan", "-0.0", "x", ""]) | st.none(),
        max_size=6,
    ),
    st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0, 2.5]), unique=True, max_size=4).map(sorted),
)
def test_tokens_count_the_edges_at_or_below(cells: list[str | None], at: list[float]) -> None:
    fitted = pa.table([pa.array(at, pa.float64())], schema=BOUNDARIES_SCHEMA)
    parsed = parse(numeric(), pa.array(cells, pa.string()))
    encoded = encode(numeric(), parsed.values, fitted)
    values = [of_text(c, [])[0] for c in cells]
    want = [1 if math.isnan(v) else 2 + sum(edge <= v for edge in at) for v in values]
    assert encoded.tokens.equals(pa.array(want, pa.int32()))
    assert [c.position for c in parsed.bad] == [k for k, c in enumerate(cells) if c == "x"]
    assert encoded.oov_rows == 0
