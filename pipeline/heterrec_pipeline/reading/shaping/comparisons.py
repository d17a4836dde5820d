"""Conditions that compare numbers: their results are the same whether these are integers, floats or null."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from heterrec_pipeline.reading.formats.jsonl import EXACT
from heterrec_pipeline.reading.shaping.cells import NOTHING, Cells
from heterrec_pipeline.reading.shaping.evaluate import Mask
from heterrec_schemas.feature_spec.expressions import parse_expression

_COMPARED = ("Gt", "GtEq", "Lt", "LtEq", "Eq", "NotEq")
_DIGITS = 15
"""Number of digits of decimals that floats tell apart."""


@cache
def compares_numbers(text: str) -> bool:
    """Whether an expression only compares columns and numbers, or asks whether columns are null."""
    return _is_condition(json.loads(parse_expression(text).meta.serialize(format="json")))


def _is_condition(node: Any) -> bool:
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "Or", "right": right}}:
            return _is_condition(left) and _is_condition(right)
        case {"BinaryExpr": {"left": left, "op": op, "right": right}}:
            return op in _COMPARED and _is_number(left) and _is_number(right)
        case {"Cast": {"expr": inner, "dtype": {"Literal": "Boolean"}}}:
            return _is_condition(inner)
        case {"Function": {"input": [inner], "function": {"Boolean": "Not"}}}:
            return _is_condition(inner)
        case {"Function": {"input": [{"Column": _}], "function": {"Boolean": name}}}:
            return name in ("IsNull", "IsNotNull")
        case {"Function": {"input": [left, right], "function": {"Sql": {"Binary": op}}}}:
            return op in _COMPARED and _is_number(left) and _is_number(right)
    return False


def _is_number(node: Any) -> bool:
    match node:
        case {"Column": _}:
            return True
        case {"Literal": {"Dyn": {"Int": int(number)}}}:
            return abs(number) <= EXACT
        case {"Literal": {"Scalar": {"Decimal": [_, int(digits), _]}}}:
            return digits <= _DIGITS
    return False


def as_floats(columns: Mapping[str, Cells], count: int) -> tuple[Mask, dict[str, pl.Series]]:
    """[n] The rows in which all cells are null or numbers that float64 holds exactly, and the columns as floats."""
    exact = np.ones(count, np.bool_)
    floats = {}
    for name, cells in columns.items():
        own = np.zeros(count, np.bool_)
        values = pl.Series([None] * count, dtype=pl.Float64)
        for k, part in enumerate(cells.parts):
            here = np.ones(count, np.bool_) if cells.of is None else cells.of == k
            if part.dtype == pl.Int64:
                small = part.is_between(-EXACT, EXACT).fill_null(True)
                own |= here & small.to_numpy()
            elif part.dtype in (pl.Float64, NOTHING):
                own |= here
            else:
                continue
            values = values.zip_with(values.is_not_null(), part.cast(pl.Float64))
        exact &= own
        floats[name] = values
    return exact, floats
