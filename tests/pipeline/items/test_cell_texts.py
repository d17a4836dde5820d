from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, embedding, numeric

from heterrec_pipeline.items.cell_texts import cell_texts, present_cells
from heterrec_pipeline.keys.duplicates import canonical_text

WORDS = st.none() | st.sampled_from(["b", " a ", "", '"', "\\", "é", "e\u0301", "a,b", "\n"])
NUMBERS = st.none() | st.floats(width=32) | st.sampled_from([-0.0, 0.0, 1.0])


def assert_as_canonical(feature: Any, column: pa.Array) -> None:
    cells = column.to_pylist()
    texts = [canonical_text(feature, c) for c in cells]
    present = [c not in ("", "[]") for c in texts]
    assert present_cells(feature, column).tolist() == present
    found = cell_texts(feature, column).to_list()
    assert [t for t, p in zip(found, present, strict=True) if p] == [
        t for t, p in zip(texts, present, strict=True) if p
    ]


@QUICK
@given(st.lists(st.none() | st.lists(WORDS, max_size=3), max_size=6))
def test_lists_of_words(cells: list[Any]) -> None:
    assert_as_canonical(categorical(multivalued=True), pa.array(cells, pa.list_(pa.string())))


@QUICK
@given(
    st.lists(st.none() | st.lists(st.none() | st.lists(WORDS, max_size=2), max_size=2), max_size=4)
)
def test_paths(cells: list[Any]) -> None:
    kind = pa.list_(pa.list_(pa.string()))
    assert_as_canonical(categorical(multivalued=True, nested="leaf"), pa.array(cells, kind))


@QUICK
@given(st.lists(st.none() | st.lists(NUMBERS, max_size=3), max_size=5), st.booleans())
def test_vectors_of_any_width(cells: list[Any], wide: bool) -> None:
    kind = pa.list_(pa.float64() if wide else pa.float32())
    assert_as_canonical(embedding(), pa.array(cells, kind))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, 0.5, np.nan, 2.0], pa.float32()),
        pa.array([None, 1, 2**62]),
        pa.array([Decimal("2.50"), None]),
        pa.array([True, None]),
        pa.array([b'["a"]', b'""', b"[]", b"2", None]),
        pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2)),
        pa.array([[1, 2]], pa.list_(pa.int64())),
        pa.array(["a", "b", None]).dictionary_encode(),
        pa.nulls(2),
    ],
)
def test_cells_of_other_types(column: pa.Array) -> None:
    assert_as_canonical(categorical(), column)


def test_missing_values_of_numbers_are_numbers() -> None:
    feature = numeric(missing_values=["-1"])
    assert present_cells(feature, pa.array([-1, 5, None])).tolist() == [False, True, False]
    assert present_cells(feature, pa.array([-1.0, np.nan, 2])).tolist() == [False, False, True]
    assert present_cells(feature, pa.array(["-1", " -1 ", "x"])).tolist() == [False, False, True]


def test_words_that_mean_missing() -> None:
    feature = categorical(missing_values=["?"])
    assert present_cells(feature, pa.array(["?", " ? ", "a", ""])).tolist() == [
        False,
        False,
        True,
        False,
    ]
