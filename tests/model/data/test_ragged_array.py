import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import MANY

from heterrec_model.data.ragged_array import RaggedArray, as_numpy, concat_ragged, ragged_array

LISTS = st.lists(st.lists(st.integers(1, 2**40), max_size=6), min_size=1, max_size=8)


def made(cells: list[list[int]], before: int = 0) -> RaggedArray:
    """Lists of an Arrow column that is a slice of a longer one."""
    column = pa.array([[9, 9, 9]] * before + cells, pa.list_(pa.int64()))
    return ragged_array(column.slice(before))


@MANY
@given(LISTS, st.integers(0, 2), st.data())
def test_padded_lists_are_the_lists_and_zeros(
    cells: list[list[int]], before: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(cells) - 1), max_size=9))
    padded = made(cells, before).padded(np.array(rows, np.int64))
    longest = max((len(cells[row]) for row in rows), default=0)
    assert padded.tolist() == [cells[row] + [0] * (longest - len(cells[row])) for row in rows]
    assert padded.dtype == np.int64


@MANY
@given(LISTS, st.integers(1, 7))
def test_the_last_values_stand_where_places_says(cells: list[list[int]], longest: int) -> None:
    lists = made(cells)
    last = lists.extents.last(longest)
    kept = [cell[-longest:] for cell in cells]
    assert lists.values_N[last.indices()].tolist() == [value for cell in kept for value in cell]
    assert [
        RaggedArray(lists.values_N, last).cell(row).tolist() for row in range(len(cells))
    ] == kept


@MANY
@given(LISTS)
def test_behind_its_end_a_list_stays_at_its_last_value(cells: list[list[int]]) -> None:
    cells = [cell or [1] for cell in cells]
    lists = made(cells)
    places, valid = lists.extents.padded_indices(np.arange(len(cells)))
    for cell, values, inside in zip(
        cells, lists.values_N[places].tolist(), valid.tolist(), strict=True
    ):
        rest = len(values) - len(cell)
        assert values == cell + [cell[-1]] * rest
        assert inside == [True] * len(cell) + [False] * rest


@MANY
@given(LISTS, LISTS)
def test_lists_after_one_another(left: list[list[int]], right: list[list[int]]) -> None:
    both = concat_ragged([made(left), made(right, before=1)])
    assert [both.cell(row).tolist() for row in range(len(left + right))] == left + right


def test_numbers_of_slices_and_of_nothing() -> None:
    assert as_numpy(pa.array([1, 2, 3, 4], pa.int32()).slice(1, 2)).tolist() == [2, 3]
    assert as_numpy(pa.array([], pa.int64())).tolist() == []
