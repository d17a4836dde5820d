"""Bins, distinct rows and neighbours against counts by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_pipeline.statistics.bins import binned, coarse_days, end_of_bin, first_of_bin
from heterrec_pipeline.statistics.distinct import MOST, distinct_rows, row_hashes, smallest
from heterrec_pipeline.statistics.neighbours import chance, kept, nearest


@given(st.lists(st.integers(0, 2**40)))
def test_every_number_is_in_the_bin_that_begins_at_or_below_it(numbers: list[int]) -> None:
    firsts = first_of_bin(np.array(numbers, dtype=np.int64)).tolist()
    for number, first in zip(numbers, firsts, strict=True):
        assert first <= number < end_of_bin(first)
        assert number < 8 or end_of_bin(first) - first <= number / 4
    assert dict(binned(np.array(numbers, dtype=np.int64))) == Counter(firsts)


@given(st.dictionaries(st.integers(-10_000, 10_000_000), st.integers(1, 9), min_size=1))
def test_days_are_added_up_until_there_are_few(by_day: dict[int, int]) -> None:
    days = np.array(list(by_day), dtype=np.int64)
    width, pairs = coarse_days(days, np.array(list(by_day.values()), dtype=np.int64))
    expected = Counter[int]()
    for day, count in by_day.items():
        expected[day // width * width] += count
    assert pairs == sorted(expected.items())
    assert len(pairs) <= 400
    assert width == 1 or len({d // (width // 2) for d in by_day}) > 400


def test_few_rows_are_counted_exactly_in_any_parts() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, (5_000, 6), dtype=np.int32)
    hashes = smallest(*(smallest(row_hashes(part)) for part in np.array_split(rows, 7)))
    expected = len(np.unique(rows, axis=0))
    assert distinct_rows(hashes) == {"distinct": expected, "exact": True}


def test_many_rows_are_estimated() -> None:
    rows = np.arange(200_000, dtype=np.int32).reshape(-1, 1)
    found = distinct_rows(smallest(*(row_hashes(part) for part in np.array_split(rows, 3))))
    assert not found["exact"]
    assert found["distinct"] == pytest.approx(200_000, rel=4 / MOST**0.5)


def test_tokens_that_say_everything_keep_all_neighbours_and_noise_as_many_as_chance() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(200, 16))
    vectors = np.repeat(centres, 11, axis=0) + rng.normal(size=(2_200, 16)) / 100
    vectors = vectors[rng.permutation(len(vectors))].astype(np.float32)
    found = nearest(vectors)
    assert found.shape == (500, 10)
    signs = (vectors > 0).astype(np.int32)
    noise = rng.integers(0, 9, (2_200, 16), dtype=np.int32)
    assert kept(signs, found) > 0.9
    assert kept(noise, found) == pytest.approx(chance(2_200), abs=0.02)
