"""Evaluates SQL expressions over batches; a row for which one fails is found, and takes no other row with it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_pipeline.worker_errors import is_panic
from heterrec_schemas.feature_spec.expressions import parse_expression

_RESULT = "\x1fresult"
"""A column name that no input has."""
_FEW_ROWS = 8
"""Number of rows that are tried one by one, if they fail together."""
Mask = npt.NDArray[np.bool_]


class Evaluated(NamedTuple):
    """The results of an expression in n rows.

    Attributes:
        values: [n] the results; null where it fails.
        failed: [n] whether it fails.
    """

    values: pl.Series
    failed: Mask


def result(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series:
    """The results of an expression, one for each row, also where it reads no column.

    Decimals with fractions, which Polars makes of integers beside a literal such as 0.5, are floats, like those of floats.

    Raises:
        PolarsError: it fails for some row, or for the types of the columns.
    """
    # A column of its own gives the frame its height, if the expression reads none.
    found = _several(frame).with_columns(expression.alias(_RESULT))[_RESULT].head(len(frame))
    if isinstance(found.dtype, pl.Decimal) and found.dtype.scale:
        return found.cast(pl.Float64)
    # Arrow has no integers of 128 bits, which Polars makes of 64 bits with and without a sign.
    return found.cast(pl.Decimal(38, 0)) if found.dtype in (pl.Int128, pl.UInt128) else found


def _several(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame whose columns Polars does not take as constants: x / 100 has another last bit for a constant x.

    A single row is there twice.
    """
    columns = frame.get_columns()
    if len(frame) == 1:
        columns = [cells.clone().extend(cells) for cells in columns]
    return pl.DataFrame(columns) if columns else frame


def evaluate(frame: pl.DataFrame, text: str) -> Evaluated:
    """The results of an expression in the rows of a frame.

    Args:
        frame: n rows with the columns that the expression reads.
        text: the expression, whose types fit.
    """
    expression = parse_expression(text)
    try:
        return Evaluated(result(frame, expression), np.zeros(len(frame), np.bool_))
    except BaseException as error:
        if not is_failure(error):
            raise
    names = list(dict.fromkeys(expression.meta.root_names()))
    kind = result(frame.clear(), expression).dtype
    # The result depends on these cells alone, so each combination is tried once.
    rows = frame.select(names).with_row_index(_RESULT)
    groups = rows.group_by(names, maintain_order=True).agg(_RESULT)
    bad = _failures(groups.select(names), expression)
    failed = np.zeros(len(frame), np.bool_)
    failed[groups[_RESULT].filter(pl.Series(bad)).explode().drop_nulls().to_numpy()] = True
    good = np.flatnonzero(~failed)
    values = pl.Series(np.full(len(frame), None), dtype=kind)
    if len(good):
        found = result(frame[good], expression)
        at = np.full(len(frame), len(good), np.int64)
        at[good] = np.arange(len(good))
        values = found.extend(pl.Series([None], dtype=found.dtype)).gather(at)
    return Evaluated(values, failed)


def is_failure(error: BaseException) -> bool:
    """Whether an error is that of an expression."""
    return isinstance(error, pl.exceptions.PolarsError) or is_panic(error)


def fails(frame: pl.DataFrame, expression: pl.Expr) -> bool:
    """Whether an expression fails for some row, or for the types of the columns."""
    try:
        result(frame, expression)
    except BaseException as error:
        if not is_failure(error):
            raise
        return True
    return False


def _failures(frame: pl.DataFrame, expression: pl.Expr) -> Mask:
    """[n] Whether an expression fails in each of n rows: some part of it does, or itself for the results of its parts."""
    bad = np.zeros(len(frame), np.bool_)
    if not fails(frame, expression):
        return bad
    # The branches of CASE are evaluated only for the rows that take them, so its parts tell nothing.
    parts = () if ".when(" in str(expression) else expression.meta.pop()
    for part in parts:
        if fails(frame.clear(), part):  # no column, such as the list after IN
            continue
        of_part = _failures(frame, part)
        # A part that is never evaluated takes no row along.
        if of_part.any() and fails(frame[int(of_part.argmax())], expression):
            bad |= of_part
    good = np.flatnonzero(~bad)
    rest = frame[good]
    if len(parts) == 1 and _is_cast_to_number(rest, expression, parts[0]):
        cells = result(rest, parts[0])
        kind = result(frame.clear(), expression).dtype
        bad[good] = (cells.is_not_null() & cells.cast(kind, strict=False).is_null()).to_numpy()
        return bad
    bad[good] = _misfits(len(good), lambda at, stop: fails(rest[at:stop], expression))
    return bad


def _is_cast_to_number(frame: pl.DataFrame, expression: pl.Expr, part: pl.Expr) -> bool:
    """Whether an expression is the cast of a part to numbers, which fails just where a loose cast makes a null."""
    before, kind = (result(frame.clear(), e).dtype for e in (part, expression))
    scalar = before.is_numeric() or before in (pl.String, pl.Boolean)
    plain = kind.is_numeric() and not kind.is_decimal() and scalar
    return plain and expression.meta.eq(part.cast(kind)) and not fails(frame, part)


def _misfits(count: int, fails: Callable[[int, int], bool]) -> Mask:
    """[count] The rows for which something fails, found by halves.

    Args:
        count: number of rows.
        fails: whether it fails for rows from one up to another.
    """
    found = np.zeros(count, np.bool_)
    spans = [(0, count)] if count else []
    while spans:
        at, stop = spans.pop()
        if not fails(at, stop):
            continue
        if stop - at == 1:
            found[at] = True
        elif stop - at <= _FEW_ROWS:
            spans += [(k, k + 1) for k in range(at, stop)]
        else:
            half = (at + stop) // 2
            spans += [(at, half), (half, stop)]
    return found
