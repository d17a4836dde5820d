"""Tallies against a count in plain Python, whatever the chunks and shards."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, embedding, numeric

from heterrec_pipeline.drift.bins import count_bins
from heterrec_pipeline.drift.tally import Total, tally, tally_of, total
from heterrec_schemas.feature_spec import Feature

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=4)


def totals(feature: Feature, cells: list[Any], sizes: list[int]) -> Total:
    """The total over two shards, each cut into chunks."""
    array = pa.array(cells, feature.token_type)
    shards = [array[: len(cells) // 2], array[len(cells) // 2 :]]
    tallies = []
    for shard in shards:
        chunks, at = [], 0
        for size in [*sizes, len(shard)]:
            chunks.append(shard[at : at + size])
            at += size
        tallies.append(tally_of(tally(feature, chunks).to_table()))
    return total(feature, tallies)


@QUICK
@given(st.lists(st.integers(1, 9), max_size=20), SIZES)
def test_single_values(cells: list[int], sizes: list[int]) -> None:
    found = totals(categorical(oov_buckets=2), cells, sizes)
    assert Counter(dict(enumerate(found.counts.tolist()))) == Counter(cells)
    assert (found.rows, found.missing_rows) == (len(cells), cells.count(1))
    assert found.oov_rows == sum(c in (2, 3) for c in cells)
    assert found.codes is None


@QUICK
@given(st.lists(st.lists(st.integers(2, 9), unique=True, max_size=4), max_size=20), SIZES)
def test_several_values(cells: list[list[int]], sizes: list[int]) -> None:
    cells = [c or [1] for c in cells]
    found = totals(categorical(multivalued=True, oov_buckets=2), cells, sizes)
    assert Counter(dict(enumerate(found.counts.tolist()))) == Counter(t for c in cells for t in c)
    assert (found.rows, found.missing_rows) == (len(cells), cells.count([1]))
    assert found.oov_rows == sum(bool({2, 3} & set(c)) for c in cells)


@QUICK
@given(
    st.lists(st.lists(st.integers(0, 26), min_size=2, max_size=2) | st.none(), max_size=20), SIZES
)
def test_codes_of_an_embedding(codes: list[list[int] | None], sizes: list[int]) -> None:
    """Six dimensions in two groups, three quantiles."""
    feature = embedding(dim=6, groups=2, quantiles=3)
    cells = [[1, 1] if c is None else [2 + x for x in c] for c in codes]
    found = totals(feature, cells, sizes)
    vectors = [c for c in codes if c is not None]
    digits = [[x // 3**j % 3 for x in c for j in range(3)] for c in vectors]
    bins = [[sum(d[k] == b for d in digits) for b in range(3)] for k in range(6)]
    assert count_bins(feature, found, None, 29) == (len(codes) - len(vectors), bins)
    assert found.missing_rows == codes.count(None)
    assert found.codes == sum(len({c[g] for c in vectors}) for g in range(2)) / 2


PQ: dict[str, Any] = {"quantizer": "pq", "groups": 2, "codes": 27}
RQ: dict[str, Any] = {"quantizer": "rq", "levels": 2, "codes": 27}


@pytest.mark.parametrize("book", [PQ, RQ], ids=["pq", "rq"])
def test_codes_of_codebooks_are_merged_to_sixteen_bins(book: dict[str, Any]) -> None:
    feature = embedding(**book)
    cells = [[1, 1], [2, 28], [2, 2], [3, 2], [4, 5]]
    found = totals(feature, cells, [2])
    missing, tokens = count_bins(feature, found, None, 29)
    assert (missing, found.missing_rows, found.codes) == (1, 1, 3)
    want = [[0] * 16, [0] * 16]
    for cell in cells[1:]:
        for token, bins in zip(cell, want, strict=True):
            bins[(token - 2) * 16 // 27] += 1
    assert tokens == want
    few = count_bins(
        embedding(**book | {"codes": 3}),
        totals(embedding(**book | {"codes": 3}), [[2, 4]], [1]),
        None,
        5,
    )
    assert few == (0, [[1, 0, 0], [0, 0, 1]])


def test_no_rows_and_no_shards() -> None:
    for feature in (categorical(), numeric(), embedding(**PQ), embedding()):
        for tallies in ([], [tally(feature, [])]):
            found = total(feature, tallies)
            assert (found.rows, found.missing_rows, found.oov_rows) == (0, 0, 0)
    assert count_bins(embedding(), found, None, 6) == (0, [[0, 0]] * 4)
    assert found.codes == 0


@pytest.mark.parametrize("bins", [1, 5, 16, 17, 20, 64])
def test_bins_of_a_number_are_merged_above_sixteen(bins: int) -> None:
    tokens = np.repeat(np.arange(1, bins + 2), np.arange(1, bins + 2)).astype(np.int32)
    found = count_bins(
        numeric(), total(numeric(), [tally(numeric(), [pa.array(tokens)])]), None, bins + 2
    )
    expected = Counter(
        0 if t == 1 else 1 + ((t - 2) * 16 // bins if bins > 16 else t - 2) for t in tokens.tolist()
    )
    assert found == [expected[b] for b in range(1 + min(bins, 16))]
