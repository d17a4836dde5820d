"""Expressions over batches: the result of a row is that of the row alone, and failures are found one by one."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_pipeline.reading.shaping.evaluate import evaluate

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


@pytest.mark.parametrize("cells", [[math.nan], [math.nan, 1.0, math.nan, -0.0]])
def test_cells_that_equal_no_other_fail_too(cells: list[float]) -> None:
    found = evaluate(pl.DataFrame({"q": cells}), "CAST(q AS INT)")
    assert found.failed.tolist() == [math.isnan(cell) for cell in cells]


@pytest.mark.parametrize("text", ["u * n", "u + n", "CAST(n AS INT128)"])
def test_an_integer_of_128_bits_is_a_decimal(text: str) -> None:
    frame = pl.DataFrame({"u": pl.Series([2**63, 1], dtype=pl.UInt64), "n": [4, None]})
    found = evaluate(frame, text)
    assert found.values.dtype == pl.Decimal(38, 0)
    assert found.values.to_list()[0] in (2**65, 2**63 + 4, 4)
    assert found.values.to_list()[1] is None


def test_a_result_of_more_than_38_digits_fails() -> None:
    frame = pl.DataFrame({"n": pl.Series([10**37, 1], dtype=pl.Int128)})
    found = evaluate(frame, "n * 10")
    assert (found.values.to_list(), found.failed.tolist()) == ([None, 10], [True, False])


@pytest.mark.parametrize(
    "text", ["x / 100", "49 * x / 49", "CASE WHEN x > 9 THEN x / 7 END", "LN(x) / 3"]
)
def test_a_row_alone_gives_what_it_gives_among_others(text: str) -> None:
    cells = pl.DataFrame({"x": [685.0, 57.0, 1.1, 9999.0, 12.34]})
    whole = evaluate(cells, text).values
    one_by_one = [evaluate(cells[at : at + 1], text).values for at in range(len(cells))]
    assert pl.concat(one_by_one).equals(whole)
    same = pl.DataFrame({"x": [685.0, 685.0]})
    assert evaluate(same, text).values.to_list() == [whole[0]] * 2
