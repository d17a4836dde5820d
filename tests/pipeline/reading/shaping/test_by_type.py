"""Expressions over cells of several types: the result of a row is that of the row alone."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_pipeline.reading.shaping.by_type import Results, evaluate_by_type
from heterrec_pipeline.reading.shaping.cells import from_json
from heterrec_pipeline.reading.shaping.fit import fit

EXPRESSIONS = [
    "a",
    "a + 1",
    "COALESCE(a, b)",
    "COALESCE(a, 1)",
    "CAST(a AS VARCHAR) || b",
    "CAST(COALESCE(a, 1) AS VARCHAR)",
    "CAST(a AS DOUBLE) > 2 OR b IS NULL",
    "CASE WHEN a > 1 THEN b ELSE 'x' END",
    "UPPER(b) || a",
    "ROUND(a / 3, 2)",
    "TRY_CAST(b AS INT) + a",
    "ARRAY_LENGTH(a) + b",
    "ARRAY_TO_STRING(a, ',')",
    "GREATEST(a, b)",
    "a IN (1, 2) AND NOT b = 'x'",
    "'constant'",
]
SCALARS = st.sampled_from(
    [None, True, 0, 1, 3, 2**53 + 1, 2**63, 1.0, 2.5, 1e300, "", " ", "x", "3", "2.5"]
)
CELLS = st.one_of(SCALARS, SCALARS, st.lists(SCALARS, max_size=3), st.just({"k": 1}))
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12)


def evaluated(rows: list[tuple[Any, ...]], text: str, **more: bool) -> Results:
    columns = {name: from_json([row[k] for row in rows])[0] for k, name in enumerate("ab")}
    return evaluate_by_type(columns, len(rows), text, blank_is_null=True, **more)


def shown(found: Results) -> list[tuple[pl.DataType | None, str, bool]]:
    """For each row, the type and the value of its result, and whether it fails."""
    cells = found.values
    of = np.zeros(len(found.failed), int) if cells.of is None else cells.of
    return [
        (None, "", True) if failed else (cells.parts[of[k]].dtype, repr(cells.cell(k)), False)
        for k, failed in enumerate(found.failed.tolist())
    ]


@settings(max_examples=300, deadline=None)
@given(rows=ROWS, text=st.sampled_from(EXPRESSIONS), cut=st.integers(0, 12), seed=st.integers(0, 9))
def test_a_result_depends_on_its_row_alone(
    rows: list[tuple[Any, Any]], text: str, cut: int, seed: int
) -> None:
    whole = shown(evaluated(rows, text))
    assert whole == [shown(evaluated([row], text))[0] for row in rows]
    assert whole == shown(evaluated(rows[:cut], text)) + shown(evaluated(rows[cut:], text))
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    assert [whole[k] for k in order] == shown(evaluated([rows[k] for k in order], text))


def test_a_blank_text_is_null_where_texts_are_not_taken() -> None:
    rows = [(1, 2), ("", 2), (" ", 2), ("x", 2), ("x", None)]
    found = evaluated(rows, "a * b")
    assert [found.values.cell(k) for k in range(3)] == [2, None, None]
    assert found.failed.tolist() == [False, False, False, True, True]
    assert found.problem is not None
    texts = evaluated(rows, "CAST(a AS VARCHAR)")
    assert [texts.values.cell(k) for k in range(4)] == ["1", "", " ", "x"]


def test_a_problem_of_the_expression_comes_before_those_of_rows() -> None:
    for rows in ([("a", 0), (1, 0), (None, 0)], [(None, 0), (1, 0), ("", 0)]):
        found = evaluated(rows, "REPLACE(a, '1', a)")
        assert found.problem is not None
        assert not found.problem.of_rows


def test_a_condition_of_another_type_fails() -> None:
    found = evaluated([(True, 0), (1, 0), (None, 0), ("x", 0), (False, 0)], "a", condition=True)
    assert found.failed.tolist() == [False, True, False, True, False]
    assert [found.values.cell(k) for k in (0, 2, 4)] == [True, None, False]


@pytest.mark.parametrize("count", [0, 3])
def test_an_expression_without_columns(count: int) -> None:
    found = evaluate_by_type({}, count, "'x'")
    assert [found.values.cell(k) for k in range(count)] == ["x"] * count


def test_many_optional_columns() -> None:
    rng = np.random.default_rng(0)
    rows = [[None if rng.random() < 0.5 else k for k in range(20)] for _ in range(50)]
    columns = {f"c{k}": from_json([row[k] for row in rows])[0] for k in range(20)}
    found = evaluate_by_type(columns, 50, f"COALESCE({', '.join(columns)}, -1)")
    firsts = [next((cell for cell in row if cell is not None), -1) for row in rows]
    assert [found.values.cell(k) for k in range(50)] == firsts


@pytest.mark.parametrize(
    ("text", "first", "expected"),
    [
        ("a > 1 OR b = ''", "", True),
        ("a > 1 OR b = ''", None, True),
        ("CASE WHEN b = '' THEN 1 ELSE 0 END + COALESCE(a, 0)", "", 1),
        ("CASE WHEN b = '' THEN 1 ELSE 0 END + COALESCE(a, 0)", None, 1),
        ("a * b", "", None),
        ("a = b", "", True),
    ],
)
def test_no_more_blank_texts_are_null_than_have_to_be(text: str, first: Any, expected: Any) -> None:
    found = evaluated([(first, ""), (5, "x"), (5, "")], text)
    assert not found.failed[0]
    assert found.values.cell(0) == expected


def test_blank_texts_of_many_columns_are_tried_one_by_one() -> None:
    names = [f"c{k}" for k in range(12)]
    columns = {name: from_json([""] * 3)[0] for name in names}
    text = " + ".join(names[:6]) + " > 1 OR " + " OR ".join(f"{name} = ''" for name in names[6:])
    found = evaluate_by_type(columns, 3, text, condition=True, blank_is_null=True)
    assert [found.values.cell(k) for k in range(3)] == [True] * 3


CONDITIONS = [
    "a > 1",
    "a <= b AND NOT b = 2.5 OR a IS NULL",
    "a BETWEEN 1 AND 2.5 OR a <> b",
    "a = b",
    "b IS NOT NULL AND 3 >= a",
    "a = 9007199254740993",
    "a < 9007199254740990.9999",
]
NUMBERS = st.sampled_from(
    [
        *(None, 0, 1, 2, 3, -1, 1.0, 1.5, 2.5, -0.0, float("nan"), 1e300),
        *(2**53 - 1, 2**53, 2**53 + 1, -(2**63), 2.0**53, "x", "", True),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12),
    text=st.sampled_from(CONDITIONS),
)
def test_comparisons_of_numbers_give_what_each_row_gives(
    rows: list[tuple[Any, Any]], text: str
) -> None:
    whole = shown(evaluated(rows, text, condition=True))
    assert whole == [shown(evaluated([row], text, condition=True))[0] for row in rows]


def test_comparisons_of_many_columns_of_several_types_are_few() -> None:
    rng = np.random.default_rng(0)
    rows = rng.choice([1, 1.5, 2, None], (2000, 10)).tolist()
    rows = [[int(c) if c in (1, 2) else c for c in row] for row in rows]
    columns = {f"c{k}": from_json([row[k] for row in rows])[0] for k in range(10)}
    fit.cache_clear()
    text = " AND ".join(f"({name} >= 1.5 OR {name} IS NULL)" for name in columns)
    found = evaluate_by_type(columns, 2000, text, condition=True, blank_is_null=True)
    assert fit.cache_info().misses == 1
    expected = [all(cell is None or cell >= 1.5 for cell in row) for row in rows]
    assert [found.values.cell(k) for k in range(2000)] == expected
