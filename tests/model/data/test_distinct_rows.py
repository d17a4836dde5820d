import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import MANY

from heterrec_model.data import distinct_rows
from heterrec_model.data.distinct_rows import first_equal_rows

ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=30
    )
)


def plainly(rows: list[list[int]], ordered: bool) -> list[int]:
    keys = [tuple(row if ordered else sorted(row)) for row in rows]
    return [keys.index(key) for key in keys]


@MANY
@given(ROWS, st.booleans())
def test_each_row_names_the_first_that_equals_it(rows: list[list[int]], ordered: bool) -> None:
    got = first_equal_rows(np.array(rows, np.int32), ordered=ordered)
    assert got.tolist() == plainly(rows, ordered)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_collision_of_hashes_changes_nothing(
    ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).integers(0, 3, (60, 3)).astype(np.int32)
    monkeypatch.setattr(distinct_rows, "_CHUNK", 7)
    hashes = np.zeros(60, np.uint64)
    monkeypatch.setattr(distinct_rows, "_hashes", lambda tokens, ordered: hashes)
    assert first_equal_rows(rows, ordered=ordered).tolist() == plainly(rows.tolist(), ordered)


def test_no_rows() -> None:
    assert len(first_equal_rows(np.zeros((0, 3), np.int32))) == 0
