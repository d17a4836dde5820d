import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, categorical

from heterrec_pipeline.drift.bins import choose_bins, count_bins, psi
from heterrec_pipeline.drift.tally import Total
from heterrec_schemas.drift import CategoricalBins


def counted(tokens: dict[int, int]) -> Total:
    counts = np.zeros(max(tokens, default=0) + 1, dtype=np.int64)
    for token, count in tokens.items():
        counts[token] = count
    return Total(1, 0, 0, counts, None)


def test_the_thirty_most_frequent_values_have_a_bin() -> None:
    feature = categorical(oov_buckets=3)
    values = {5 + k: (7 if k < 29 else 3) for k in range(40)}
    total = counted({1: 100, 2: 90, 4: 80} | values)
    bins = choose_bins(feature, total, 60)
    assert bins == CategoricalBins(
        tokens=list(range(5, 35)), largest=59
    )  # of equal counts, the smaller id
    after = counted({1: 1, 3: 2, 5: 4, 40: 8, 59: 16, 60: 32, 61: 64})
    assert count_bins(feature, after, bins, 62) == [1, 2, 4, *[0] * 29, 24, 96]


def test_a_vocabulary_that_was_empty() -> None:
    feature = categorical(oov_buckets=2)
    bins = choose_bins(feature, counted({1: 3, 2: 4}), 4)
    assert bins == CategoricalBins(tokens=[], largest=3)
    assert count_bins(feature, counted({3: 5, 4: 6}), bins, 5) == [0, 5, 0, 6]
    assert count_bins(feature, counted({}), bins, 5) == [0, 0, 0, 0]


def test_examples() -> None:
    assert psi([0, 50, 50], [0, 50, 50]) == 0
    assert psi([0, 50, 50], [0, 25, 75]) == pytest.approx(
        0.25 * math.log(2) + 0.25 * math.log(1.5), abs=1e-6
    )
    # The floor: a new value weighs by its share, not by the size of the shop.
    for rows in (1_000, 1_000_000_000):
        for share, weight in ((0.02, 0.01), (0.10, 0.21), (0.13, 0.31)):
            new = int(rows * share)
            others = [rows // 4] * 4
            after = [n - new // 4 for n in others]
            assert psi([*others, 0], [*after, new]) == pytest.approx(weight, abs=0.02)


def test_an_embedding_is_the_mean_over_its_dimensions() -> None:
    before, after = (2, [[10, 10], [5, 15]]), (4, [[10, 10], [15, 5]])
    parts = [psi([2, *b], [4, *a]) for b, a in zip(before[1], after[1], strict=True)]
    assert psi(before, after) == pytest.approx(sum(p or 0 for p in parts) / 2, abs=1e-6)


@pytest.mark.parametrize("empty", [[0, 0], (0, [[0, 0]])])
def test_without_rows_there_is_none(empty: Any) -> None:
    some = [1, 1] if isinstance(empty, list) else (1, [[1, 1]])
    assert psi(empty, some) is psi(some, empty) is psi(empty, empty) is None


@MANY
@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=2, max_size=9))
def test_against_the_formula(pairs: list[tuple[int, int]]) -> None:
    before, after = ([p[k] for p in pairs] for k in (0, 1))
    if not sum(before) or not sum(after):
        return
    shares = [(max(a / sum(before), 0.01), max(b / sum(after), 0.01)) for a, b in pairs]
    expected = sum((r - p) * (math.log(r) - math.log(p)) for p, r in shares)
    found = psi(before, after)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found is not None
    assert found >= 0
    assert psi(after, before) == found
