"""Evaluates expressions over columns whose cells have several types: rows with cells of the same types together."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_pipeline.reading.shaping.cells import NOTHING, Cells, joined
from heterrec_pipeline.reading.shaping.evaluate import Mask, evaluate
from heterrec_pipeline.reading.shaping.fit import Problem, fit
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
    groups = [(at, cells, blank_is_null) for at, cells in _groups(own, count)]
    while groups:
        at, cells, loosely = groups.pop()
        kinds = tuple((name, part.dtype) for name, part in cells.items())
        found = fit(text, kinds, condition=condition)
        if found.problem is None:
            taken = dict(found.kinds)
            made = [part.cast(taken[name]).alias(name) for name, part in cells.items()]
            one = evaluate(pl.DataFrame(made or [pl.Series([None] * len(at))]), text)
            pieces.append((at, one.values))
            failed[at[one.failed]] = True
        elif loosely and found.problem.of_rows and (others := _without_blanks(cells)):
            groups += [(at[inner], more, False) for inner, more in _groups(others, len(at))]
        else:
            failed[at] = True
            problem = problem if problem and not problem.of_rows else found.problem
    return Results(joined(pieces, count), failed, problem)


def _groups(
    columns: Mapping[str, Cells], count: int
) -> Iterator[tuple[Positions, dict[str, pl.Series]]]:
    """The positions of n rows with cells of the same types, and these cells."""
    code = np.zeros(count, np.int64)
    size = 1
    for cells in columns.values():
        if cells.of is None:
            continue
        code, size = code * len(cells.parts) + cells.of, size * len(cells.parts)
        if size > _MANY:
            code = np.unique(code, return_inverse=True)[1]
            size = int(code.max(initial=0)) + 1
    for group in np.flatnonzero(np.bincount(code)).tolist():
        at = np.flatnonzero(code == group)
        parts = {n: c.parts[0 if c.of is None else c.of[at[0]]] for n, c in columns.items()}
        whole = len(at) == count
        yield at, {name: part if whole else part.gather(at) for name, part in parts.items()}


def _without_blanks(cells: Mapping[str, pl.Series]) -> dict[str, Cells]:
    """The cells with null for blank texts; empty if there is none."""
    blank = {
        name: (part.str.strip_chars(BLANKS) == "").to_numpy()
        for name, part in cells.items()
        if part.dtype == pl.String
    }
    if not any(mask.any() for mask in blank.values()):
        return {}
    nothing = pl.Series([None] * max(map(len, cells.values())), dtype=NOTHING)
    return {
        name: Cells((part, nothing), blank[name].astype(np.int64))
        if name in blank
        else Cells((part,))
        for name, part in cells.items()
    }
