"""Expressions over batches: the result of a row is that of the row alone, and failures are found one by one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_pipeline.reading.shaping.evaluate import (
    as_polars,
    cells_in_words,
    depends_on_other_rows,
    evaluate,
    expression_type,
    fitted,
    probe_frame,
)
from heterrec_schemas.feature_spec.expressions import parse_expression

EXPRESSIONS = [
    "CAST(REPLACE(t, '$', '') AS DOUBLE)",
    "CAST(t AS BIGINT) > 2 OR n IS NULL",
    "CASE WHEN n > 1 THEN t ELSE 'x' END",
    "DATE(t, '%Y-%m-%d')",
    "TRY_CAST(t AS INT) + n",
    "n // 2 + n % 3",
    "COALESCE(t, 'none') || '-' || n",
    "SPLIT_PART(t, '-', 2)",
    "t IN ('1', '$2') AND NOT n = 3",
    "'constant'",
    "ROUND(n / 3, 2)",
    "UPPER(LEFT(t, 2))",
    "CASE WHEN n > 1 THEN CAST(t AS INT) ELSE n END",
    "n > 0 AND CAST(t AS INT) > 1 OR t = '$2'",
    "CASE WHEN CAST(t AS INT) > n THEN 'x' ELSE 'y' END || t",
    "IF(t IN ('1', ' 5'), CAST(t AS INT), n) + 1",
    "CAST(t AS DOUBLE) IN (1, 2, 2026)",
    "COALESCE(CAST(t AS INT), n) + CAST(REPLACE(t, '$', '') AS SMALLINT)",
    "CAST(CAST(t AS DOUBLE) * 300 AS TINYINT)",
    "DATE(t, '%Y-%m-%d') > DATE(REPLACE(t, '/', '-'), '%d-%m-%Y')",
]
WHOLE = [None if k % 7 == 3 else k for k in range(40)]
CELLS = st.sampled_from([None, "", "1", "$2", "N/A", "2026-01-31", "31/01/2026", "é", " 5"])
ROWS = st.lists(st.tuples(CELLS, st.one_of(st.none(), st.integers(-5, 5))), min_size=1, max_size=12)


def frame_of(rows: list[tuple[Any, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"t": pl.String, "n": pl.Int64}, orient="row")


def results(frame: pl.DataFrame, text: str) -> list[tuple[Any, bool]]:
    found = evaluate(frame, text)
    assert found.values.dtype == evaluate(frame.clear(), text).values.dtype
    return list(zip(found.values.to_list(), found.failed.tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, text=st.sampled_from(EXPRESSIONS), cut=st.integers(0, 12), seed=st.integers(0, 9))
def test_neither_cuts_nor_order_change_a_result(
    rows: list[tuple[Any, Any]], text: str, cut: int, seed: int
) -> None:
    frame = frame_of(rows)
    whole = results(frame, text)
    assert whole == [results(frame[k : k + 1], text)[0] for k in range(len(frame))]
    assert whole == results(frame[:cut], text) + results(frame[cut:], text)
    order = np.random.default_rng(seed).permutation(len(frame))
    assert [whole[k] for k in order] == results(frame[order], text)


def test_only_the_rows_for_which_it_fails_fail() -> None:
    frame = frame_of([("1", 1), ("N/A", 2), (None, 3), ("$7", 4), ("N/A", 5)])
    text = "CAST(t AS DOUBLE)"
    found = evaluate(frame, text)
    assert found.values.to_list() == [1.0, None, None, None, None]
    assert found.failed.tolist() == [False, True, False, True, True]
    assert cells_in_words(frame, text, 1) == "N/A"
    assert cells_in_words(frame, "CAST(t AS INT) + n", 4) in ("t: N/A, n: 5", "n: 5, t: N/A")


@pytest.mark.parametrize("cells", [[math.nan], [math.nan, 1.0, math.nan, -0.0]])
def test_cells_that_equal_no_other_fail_too(cells: list[float]) -> None:
    found = evaluate(pl.DataFrame({"q": cells}), "CAST(q AS INT)")
    assert found.failed.tolist() == [math.isnan(cell) for cell in cells]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_probe_has_times_that_can_be_written(unit: str) -> None:
    probe = probe_frame({"t": pa.timestamp(unit)}, ["t"])
    assert not depends_on_other_rows(probe, parse_expression("CAST(t AS VARCHAR)"))


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("CAST(t AS DOUBLE) > n", False),
        ("DATE(t, '%Y-%m-%d')", False),
        ("t || n", False),
        ("REPLACE(t, '1', t)", True),  # Polars refuses a null alone, but not among others
    ],
)
def test_a_probe_tells_whether_a_result_depends_on_other_rows(text: str, depends: bool) -> None:
    probe = probe_frame({"t": pa.string(), "n": pa.int64()}, ["t", "n"])
    assert depends_on_other_rows(probe, parse_expression(text)) == depends
    assert depends_on_other_rows(probe, pl.col("t").str.to_uppercase().shift(1))
    assert depends_on_other_rows(probe, pl.col("n") - pl.col("n").max())


@pytest.mark.parametrize(
    ("cells", "kind", "values", "misfits"),
    [
        (pa.array([1, None], pa.int32()), pa.int64(), [1, None], []),
        (pa.array([1, 2**60 + 1]), pa.float64(), [1.0, None], [1]),
        (pa.array([1.0, 2.5]), pa.int64(), [1, None], [1]),
        (pa.array(["a", "", None]), pa.string(), ["a", None, None], []),
        (pa.array([k + (k % 7 == 3) / 2 for k in range(40)]), pa.int8(), WHOLE, range(3, 40, 7)),
        (pa.array([1.5, 2.5]), pa.int64(), [None, None], [0, 1]),
        (pa.nulls(2), pa.int64(), [None, None], []),
        (pa.array(["x", "y"]).dictionary_encode(), pa.string(), ["x", "y"], []),
    ],
)
def test_a_cell_fits_exactly_or_not_at_all(
    cells: pa.Array, kind: pa.DataType, values: list[Any], misfits: Sequence[int]
) -> None:
    found, bad = fitted(cells, kind, empty_is_null=True)
    assert found.type == expression_type(kind)
    assert found.to_pylist() == values
    assert np.flatnonzero(bad).tolist() == list(misfits)


def test_instants_are_in_utc() -> None:
    times = pa.array([3_600_000, None], pa.timestamp("ms", "Europe/Paris"))
    cells, _ = fitted(times, times.type, empty_is_null=False)
    frame = as_polars({"ts": cells}, 2)
    assert evaluate(frame, "EXTRACT(HOUR FROM ts)").values.to_list() == [1, None]
    assert evaluate(frame, "ts >= TIMESTAMP '1970-01-01 01:00:00'").values.to_list() == [True, None]


def test_columns_that_polars_lacks() -> None:
    uuid = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(range(16))], pa.binary(16)))
    text, _ = fitted(uuid, uuid.type, empty_is_null=False)
    assert text.to_pylist() == ["00010203-0405-0607-0809-0a0b0c0d0e0f"]
    frame = as_polars({"h": pa.array([1.5], pa.float16()), "b": pa.array([b"ab"], pa.binary(2))}, 1)
    assert evaluate(frame, "h + 1").values.to_list() == [2.5]
    assert evaluate(frame, "CAST(b AS VARCHAR)").values.to_list() == ["ab"]
    assert evaluate(as_polars({}, 3), "'x'").values.to_list() == ["x"] * 3
