from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import MANY

from heterrec_model.data.row_spans import (
    RowGroupReader,
    RowSpan,
    consumer_spans,
    cut_spans,
    row_group_spans,
    windows,
)
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError

GROUPS = st.lists(st.integers(1, 9), max_size=12)


def spans_of(rows: list[int]) -> list[RowSpan]:
    return [RowSpan("shard", group, 0, count) for group, count in enumerate(rows)]


def single(spans: list[RowSpan]) -> list[tuple[str, int, int]]:
    """Every row of some spans."""
    return [(span.path, span.group, row) for span in spans for row in range(span.start, span.stop)]


@MANY
@given(GROUPS, st.integers(1, 15), st.integers(0, 2**40))
def test_consumers_share_the_rows_evenly_without_overlap_or_loss(
    groups: list[int], consumers: int, seed: int
) -> None:
    spans = spans_of(groups)
    parts = [
        single(consumer_spans(spans, n, consumers, np.random.default_rng(seed)))
        for n in range(consumers)
    ]
    assert sorted(row for part in parts for row in part) == sorted(single(spans))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_order_is_the_generators() -> None:
    spans = spans_of([3] * 20)
    first, again, other = (
        consumer_spans(spans, 0, 2, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


@MANY
@given(GROUPS, st.integers(0, 120), st.integers(0, 120))
def test_a_cut_is_a_slice_of_the_rows(groups: list[int], start: int, length: int) -> None:
    spans = spans_of(groups)
    assert single(cut_spans(spans, start, start + length)) == single(spans)[start : start + length]


@MANY
@given(st.integers(0, 500), st.integers(1, 40))
def test_windows_are_few_and_alike(rows: int, most: int) -> None:
    borders = windows(rows, most)
    sizes = [stop - start for start, stop in pairwise(borders)]
    assert (borders[0], borders[-1], len(sizes)) == (0, rows, -(-rows // most))
    assert all(0 < size <= most for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_row_groups_are_found_in_the_order_of_the_shards(generation: Generation) -> None:
    spans = row_group_spans(generation, "train")
    reader = RowGroupReader(generation, ["user_id"])
    users = [user for span in spans for user in reader.read(span)["user_id"].to_pylist()]
    assert users == generation.sequences("train")["user_id"].to_pylist()
    assert max(span.rows for span in spans) == 8
    assert len({span.path for span in spans}) == 3


def test_a_span_is_read_from_one_row_group_that_is_kept(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    whole = Generation.open_shard
    monkeypatch.setattr(
        Generation, "open_shard", lambda self, path: (opened.append(path), whole(self, path))[1]
    )
    first = row_group_spans(generation, "train")[0]
    opened.clear()
    reader = RowGroupReader(generation, ["user_id"])
    parts = [reader.read(part) for part in cut_spans([first], 0, 3) + cut_spans([first], 3, 8)]
    assert [len(part) for part in parts] == [3, 5]
    assert len(opened) == 1


def test_an_unknown_split_is_named(generation: Generation) -> None:
    with pytest.raises(CallError, match="Did you mean 'train'"):
        row_group_spans(generation, "trian")
