"""Evaluates expressions over columns whose cells have several types: rows with cells of the same types together."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_pipeline.reading.shaping.cells import Cells, joined
from heterrec_pipeline.reading.shaping.comparisons import as_floats, compares_numbers
from heterrec_pipeline.reading.shaping.evaluate import Mask, evaluate
from heterrec_pipeline.reading.shaping.fit import Fit, Problem, fit, fit_with_blanks
from heterrec_schemas.feature_spec.expressions import columns_of
from heterrec_schemas.values import BLANKS

Positions = npt.NDArray[np.int64]
_MANY = 2**16
"""Number of combinations of types above which those without rows are left out."""


class Results(NamedTuple):
    """The results of an expression in n rows.

    Attributes:
        values: the results; null where it fails.
        failed: [n] whether it fails.
        problem: why it does not fit the types of some rows; one that is no matter of these rows comes first.
    """

    values: Cells
    failed: Mask
    problem: Problem | None


def evaluate_by_type(
    columns: Mapping[str, Cells],
    count: int,
    text: str,
    *,
    condition: bool = False,
    blank_is_null: bool = False,
) -> Results:
    """The results of an expression, each of which depends on the cells of its row alone.

    Args:
        columns: the columns that it reads, and others, of n cells.
        count: n.
        text: the expression.
        condition: whether its results must be true, false or null.
        blank_is_null: whether blank texts are null where it takes no texts.
    """
    own = {name: columns[name] for name in columns_of(text)}
    failed = np.zeros(count, np.bool_)
    pieces: list[tuple[Positions, pl.Series]] = []
    problem: Problem | None = None
    for at, cells in _groups(own, count, text):
        kinds = tuple((name, part.dtype) for name, part in cells.items())
        split = blank_is_null and fit(text, kinds, condition=condition).problem is not None
        for inner, blank in _by_blanks(cells, len(at)) if split else [(None, [])]:
            here = at if inner is None else at[inner]
            found = fit_with_blanks(text, kinds, blank, condition=condition)
            if found.problem is not None:
                failed[here] = True
                problem = problem if problem and not problem.of_rows else found.problem
                continue
            one = evaluate(_frame(cells, inner, found, len(here)), text)
            pieces.append((here, one.values))
            failed[here[one.failed]] = True
    return Results(joined(pieces, count), failed, problem)


def _groups(
    columns: Mapping[str, Cells], count: int, text: str
) -> Iterator[tuple[Positions, dict[str, pl.Series]]]:
    """The positions of n rows with cells of the same types, and these cells; numbers that are only compared as floats."""
    left = np.ones(count, np.bool_)
    if any(cells.of is not None for cells in columns.values()) and compares_numbers(text):
        exact, floats = as_floats(columns, count)
        left = ~exact
        if len(at := np.flatnonzero(exact)):
            yield at, {name: part.gather(at) for name, part in floats.items()}
    code = np.zeros(count, np.int64)
    size = 1
    for cells in columns.values():
        if cells.of is None:
            continue
        code, size = code * len(cells.parts) + cells.of, size * len(cells.parts)
        if size > _MANY:
            code = np.unique(code, return_inverse=True)[1]
            size = int(code.max(initial=0)) + 1
    for group in np.flatnonzero(np.bincount(code[left])).tolist():
        at = np.flatnonzero((code == group) & left)
        parts = {n: c.parts[0 if c.of is None else c.of[at[0]]] for n, c in columns.items()}
        whole = len(at) == count
        yield at, {name: part if whole else part.gather(at) for name, part in parts.items()}


def _by_blanks(cells: Mapping[str, pl.Series], count: int) -> Iterator[tuple[Positions, list[str]]]:
    """The positions of n rows with blank texts in the same columns, and these columns."""
    texts = [name for name, part in cells.items() if part.dtype == pl.String]
    if not texts:
        yield np.arange(count), []
        return
    blanks = [cells[name].str.strip_chars(BLANKS) == "" for name in texts]
    masks = np.column_stack([blank.fill_null(False).to_numpy() for blank in blanks])
    patterns, of = np.unique(masks, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns.tolist()):
        names = [name for name, blank in zip(texts, pattern, strict=True) if blank]
        yield np.flatnonzero(of.ravel() == k), names


def _frame(
    cells: Mapping[str, pl.Series], at: Positions | None, found: Fit, count: int
) -> pl.DataFrame:
    """The cells of n rows in the types that an expression takes; null where it takes no blank texts."""
    made = []
    for (name, part), given, (_, taken) in zip(
        cells.items(), found.given, found.kinds, strict=True
    ):
        if given != part.dtype:
            part = pl.Series([None] * count, dtype=given)
        elif at is not None:
            part = part.gather(at)
        made.append(part.cast(taken).alias(name))
    return pl.DataFrame(made or [pl.Series([None] * count)])
