"""Cardinalities from some of a table's blocks: intervals that hold, guesses that are near, exact when all is read."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_pipeline.planning.estimates import (
    BlockCounts,
    Fraction,
    Interval,
    distinct,
    likely_blocks,
)

ROWS = 20_000
Values = npt.NDArray[np.uint64]
POPULATIONS: dict[str, Callable[[np.random.Generator], Values]] = {
    "uniform": lambda rng: rng.integers(0, 3000, ROWS).astype(np.uint64),
    "few": lambda rng: rng.integers(0, 20, ROWS).astype(np.uint64),
    "heavy tail": lambda rng: np.minimum(rng.zipf(1.4, ROWS), 10**9).astype(np.uint64),
    "sorted": lambda rng: np.sort(rng.integers(0, 3000, ROWS)).astype(np.uint64),
    "all different": lambda rng: np.arange(ROWS, dtype=np.uint64),
}


def estimated(values: Values, blocks: int, read: int, rng: np.random.Generator) -> Interval:
    """The estimate from some blocks of a column."""
    pieces = np.array_split(values, blocks)
    chosen = set(rng.permutation(blocks)[:read].tolist())
    tally = BlockCounts()
    for k in sorted(chosen):
        tally.add(k, pl.Series(pieces[k]))
    unread = sum(len(p) for k, p in enumerate(pieces) if k not in chosen)
    return distinct(tally, Fraction(read, blocks, unread))


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize(("blocks", "read"), [(64, 8), (200, 20), (100, 60)])
def test_the_interval_holds_as_surely_as_it_says(population: str, blocks: int, read: int) -> None:
    held = near = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = POPULATIONS[population](rng)
        found, truth = estimated(values, blocks, read, rng), len(np.unique(values))
        held += found.low <= truth <= found.high
        near += 0.7 < found.value / truth < 1.4
    assert held >= 59
    assert near >= 50


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_any_sample_has_a_lower_bound_and_a_whole_one_is_exact(
    values: list[int], blocks: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    column = np.array(values, dtype=np.uint64)
    truth = len(set(values))
    assert estimated(column, blocks, blocks, rng) == Interval.exactly(truth)
    few = estimated(column, blocks, max(1, blocks // 2), rng)
    assert few.low <= truth
    assert few.low <= few.value <= few.high
    if blocks // 2 < 8:  # too few blocks to tell: every unread row may be new
        assert truth <= few.high


def test_beginnings_of_files_promise_no_more_than_the_unread_rows_allow() -> None:
    tally = BlockCounts()
    for k, block in enumerate(np.array_split(np.arange(100, dtype=np.uint64), 10)):
        tally.add(k, pl.Series(block))
    found = distinct(tally, Fraction(10, 50, 400, fair=False))
    assert (found.low, found.high) == (100, 500)
    assert 400 < found.value <= 500


def test_likely_blocks_of_a_sorted_table_are_single() -> None:
    found = np.ones(100, dtype=np.int64)
    each, lacking = likely_blocks(found, Fraction(10, 40, 900))
    assert np.mean(each == 1) > 0.95
    assert 250 < len(lacking) < 320


def test_likely_blocks_never_fall_below_what_was_found() -> None:
    found = np.array([1, 2, 9, 10], dtype=np.int64)
    each, _ = likely_blocks(found, Fraction(10, 11, 5))
    assert (each >= found).all()
    assert each.max() <= 11
