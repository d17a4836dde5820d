import json
import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, embedding

from heterrec_pipeline.features.embedding import (
    Quantizer,
    encode,
    is_vector_like,
    parse,
    quantizer_table,
    vectors,
)
from heterrec_schemas.codebooks import codebook_table
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import QUANTIZERS_SCHEMA

FEATURE = embedding(dim=2, groups=1)


def float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf


def by_hand(cell: Any, dim: int) -> list[float] | Reason | None:
    """One cell: its vector, why it is bad, or None where it is missing."""
    if cell is None or cell == []:
        return None
    if len(cell) != dim:
        return Reason.WRONG_WIDTH
    vector = [math.nan if x is None else float32(x) for x in cell]
    return vector if all(map(math.isfinite, vector)) else Reason.NON_FINITE


VALUES = (
    st.none() | st.floats(-4, 4, width=16) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])
)
WIDE = VALUES | st.sampled_from([1e39, -1e39, 3.5e38, 1e-50])
KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "list of half": (pa.list_(pa.float16()), VALUES),
    "list of float": (pa.list_(pa.float32()), VALUES),
    "list of double": (pa.list_(pa.float64()), WIDE),
    "large list": (pa.large_list(pa.float64()), WIDE),
    "list of int": (pa.list_(pa.int64()), st.none() | st.integers(-9, 9)),
    "fixed": (pa.list_(pa.float32(), 2), VALUES),
}


@QUICK
@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_vectors_are_those_of_the_usable_cells(data: st.DataObject, name: str) -> None:
    kind, values = KINDS[name]
    low, high = (2, 2) if name == "fixed" else (0, 3)
    cells = data.draw(
        st.lists(st.none() | st.lists(values, min_size=low, max_size=high), max_size=6)
    )
    padded = pa.array([None, *cells], kind)  # sliced: offsets do not begin at 0
    positions, found, bad = vectors(FEATURE, padded.slice(1))
    want = [by_hand(c, 2) for c in cells]
    assert dict(zip(positions.tolist(), found.tolist(), strict=True)) == {
        k: w for k, w in enumerate(want) if isinstance(w, list)
    }
    assert found.dtype == np.float32
    assert found.shape == (len(positions), 2)
    assert [(c.position, c.reason) for c in bad] == [
        (k, w) for k, w in enumerate(want) if isinstance(w, Reason)
    ]


def test_bad_cells_say_what_is_wrong() -> None:
    column = pa.array([[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, math.inf], [None, 1.0]])
    _, _, bad = vectors(FEATURE, column)
    assert [c.value for c in bad] == [
        "width 5: [1.0, 2.0, 3.0, 4.0, ...]",
        "inf in dimension 1: [1.0, inf, ...]",
        "nan in dimension 0: [None, 1.0, ...]",
    ]


def test_odd_cells_out_of_json() -> None:
    cells: list[Any] = [
        [1, 2.5],
        "x",
        None,
        [1, "2"],
        [True, 1],
        [10**400, 1],
        [1],
        [],
        [None, 1],
        {"a": 1},
        7,
    ]
    column = pa.array([None if c is None else json.dumps(c).encode() for c in cells], pa.binary())
    positions, found, bad = vectors(FEATURE, column)
    assert (positions.tolist(), found.tolist()) == ([0], [[1.0, 2.5]])
    assert [(c.position, c.reason) for c in bad] == [
        (1, Reason.WRONG_TYPE),
        (3, Reason.WRONG_TYPE),
        (4, Reason.WRONG_TYPE),
        (5, Reason.NON_FINITE),
        (6, Reason.WRONG_WIDTH),
        (8, Reason.NON_FINITE),
        (9, Reason.WRONG_TYPE),
        (10, Reason.WRONG_TYPE),
    ]
    assert bad[0].value == '"x"'


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(2),
        pa.array([math.nan, None]),
        pa.array(["", " "]),
        pa.array([[], None], pa.list_(pa.null())),
        pa.array([], pa.list_(pa.float32())),
    ],
)
def test_what_is_missing_is_not_bad(column: pa.Array) -> None:
    positions, found, bad = vectors(FEATURE, column)
    assert (len(positions), found.shape, bad) == (0, (0, 2), [])


@pytest.mark.parametrize(
    "column", [pa.array(["1 2"]), pa.array([1.0]), pa.array([["1", "2"]]), pa.array([[[1.0]]])]
)
def test_a_batch_of_odd_cells_only_is_set_aside(column: pa.Array) -> None:
    assert not is_vector_like(column.type)
    positions, found, bad = vectors(FEATURE, column)
    assert (len(positions), found.shape) == (0, (0, 2))
    assert [(c.position, c.reason, c.value) for c in bad] == [
        (0, Reason.WRONG_TYPE, json.dumps(column[0].as_py()))
    ]


def test_large_finite_values_are_no_infinity() -> None:
    column = pa.array([[3e38, 3e38]], pa.list_(pa.float32()))
    positions, _, bad = vectors(FEATURE, column)
    assert (positions.tolist(), bad) == ([0], [])


def test_the_quantizer_is_listed_by_edge_then_dimension() -> None:
    table = quantizer_table(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    assert table.schema.equals(QUANTIZERS_SCHEMA)
    assert table.to_pydict() == {
        "dim": [0, 1, 2, 0, 1, 2],
        "edge_index": [0, 0, 0, 1, 1, 1],
        "edge": [1, 2, 3, 4, 5, 6],
    }


PQ = {"quantizer": "pq", "groups": 2, "codes": 2}
RQ = {"quantizer": "rq", "levels": 2, "codes": 2}


@pytest.mark.parametrize(
    ("sizes", "width", "first", "last"), [(PQ, 2, [2, 3], [3, 3]), (RQ, 4, [3, 2], [3, 2])]
)
def test_tokens_by_codebooks(
    sizes: dict[str, Any], width: int, first: list[int], last: list[int]
) -> None:
    feature = embedding(**sizes)
    books = [np.array([[0] * width, [4] * width], np.float32) for _ in range(2)]
    parsed = parse(feature, pa.array([[0, 1, 3, 5], None, [1], [4, 4, 3, 5]], pa.list_(pa.int64())))
    encoded = encode(feature, parsed.values, Quantizer(codebook_table(books)))
    assert encoded.tokens.type == pa.list_(pa.int32(), 2)
    assert encoded.tokens.to_pylist() == [first, [1, 1], [1, 1], last]


COARSE = st.integers(-2, 2).map(float)


@QUICK
@given(st.data(), st.sampled_from([(4, 2, 2), (4, 1, 3), (3, 3, 4), (2, 1, 40)]))
def test_tokens_are_the_contracts_sums(data: st.DataObject, sizes: tuple[int, int, int]) -> None:
    dim, groups, quantiles = sizes
    feature = embedding(dim=dim, groups=groups, quantiles=quantiles)
    edges = [
        sorted(data.draw(st.lists(COARSE, min_size=quantiles - 1, max_size=quantiles - 1)))
        for _ in range(dim)
    ]
    vector = st.lists(COARSE, min_size=dim, max_size=dim)
    cells = data.draw(st.lists(st.none() | vector | st.just([0.0] * (dim + 1)), max_size=4))
    fitted = quantizer_table(np.array(edges, np.float32).T)
    parsed = parse(feature, pa.array(cells, pa.list_(pa.float64())))
    assert len(parsed.bad) == sum(cell is not None and len(cell) != dim for cell in cells)
    encoded = encode(feature, parsed.values, Quantizer(fitted))
    width = dim // groups
    want = []
    for cell in cells:
        if cell is None or len(cell) != dim:
            want.append([1] * groups)
            continue
        bins = [sum(e <= x for e in edges[d]) for d, x in enumerate(cell)]
        want.append(
            [
                2 + sum(bins[g * width + j] * quantiles**j for j in range(width))
                for g in range(groups)
            ]
        )
    assert encoded.tokens.to_pylist() == want
    assert encoded.tokens.type == pa.list_(pa.int32(), groups)
