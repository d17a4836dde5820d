"""Sorted streams become one, whatever their batches."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK

from heterrec_pipeline.vocabularies.merge import ORDER, RANK, merged

ROWS = st.lists(
    st.tuples(st.integers(-2, 0), st.text("ab\uff5e\U0001f600", max_size=3)), max_size=30
)


def batches(rows: list[tuple[int, str]], size: int) -> list[pl.DataFrame]:
    schema = {RANK: pl.Int64, ORDER: pl.String}
    frame = pl.DataFrame(sorted(rows, key=by_bytes), schema=schema, orient="row")
    return [frame.slice(k, size) for k in range(0, len(frame), size)] or [frame]


def by_bytes(row: tuple[int, str]) -> tuple[int, bytes]:
    return row[0], row[1].encode("utf-8")


@QUICK
@given(streams=st.lists(ROWS, max_size=5), size=st.integers(1, 7))
def test_the_rows_of_all_streams_in_order(streams: list[list[tuple[int, str]]], size: int) -> None:
    found = list(merged(batches(rows, size) for rows in streams))
    rows = [r for f in found for r in f.rows()]
    assert rows == sorted((r for s in streams for r in s), key=by_bytes)
    assert all(len(f) <= size * len(streams) for f in found)


def test_streams_are_read_no_further_than_need_be() -> None:
    taken = []

    def stream(name: str, first: int) -> object:
        for k in range(3):
            taken.append((name, k))
            yield pl.DataFrame({RANK: [0, 0], ORDER: [first + 2 * k, first + 2 * k + 1]})

    rows = merged([stream("low", 0), stream("high", 100)])  # type: ignore[list-item]
    assert next(rows)[ORDER].to_list() == [0, 1]
    assert taken == [("low", 0), ("high", 0)]
    assert next(rows)[ORDER].to_list() == [2, 3]
    assert taken[2:] == [("low", 1)]
