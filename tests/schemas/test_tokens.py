import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.tokens import (
    FIRST_FREE,
    MISSING,
    PADDING,
    VALUES_PER_SHARD,
    decode_embedding_tokens,
    embedding_tokens,
    number_vocabulary,
    numeric_edges,
    numeric_tokens,
    oov_ids,
    quantile_ranks,
    quantizer_edges,
    vocabulary_shards,
)

FLOATS = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
# Few values, so that edges repeat and values lie on edges.
COARSE = st.integers(-4, 4).map(float)


def test_the_first_ids_are_the_contracts() -> None:
    assert (PADDING, MISSING, FIRST_FREE) == (0, 1, 2)


# --- vocabularies


@pytest.mark.parametrize(
    ("values", "shards"),
    [
        (0, 1),
        (1, 1),
        (VALUES_PER_SHARD, 1),
        (VALUES_PER_SHARD + 1, 2),
        (2 * VALUES_PER_SHARD, 2),
        (2 * VALUES_PER_SHARD + 1, 4),
        (5 * VALUES_PER_SHARD, 8),
    ],
)
def test_shards_follow_from_the_size_unless_declared(values: int, shards: int) -> None:
    assert vocabulary_shards(values) == shards
    assert vocabulary_shards(values, 3) == 3


COUNTS = st.dictionaries(
    st.integers(-50, 150).map(str) | st.text(max_size=3), st.integers(1, 4), max_size=40
)
WHOLE_COUNTS = st.dictionaries(st.integers(-50, 150).map(str), st.integers(1, 4), max_size=40)


@given(
    st.one_of(st.tuples(COUNTS, st.just(False)), st.tuples(WHOLE_COUNTS, st.booleans())),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.none() | st.integers(1, 10),
)
def test_vocabularies_are_numbered_as_the_contract_says(
    counted: tuple[dict[str, int], bool],
    oov_buckets: int,
    shards: int,
    min_count: int,
    max_size: int | None,
) -> None:
    counts, integral = counted
    frame = pl.DataFrame(
        {"value": list(counts), "count": list(counts.values())},
        schema={"value": pl.String, "count": pl.Int64},
    )
    numbered = number_vocabulary(
        frame,
        integral=integral,
        oov_buckets=oov_buckets,
        shards=shards,
        min_count=min_count,
        max_size=max_size,
    )

    def place(value: str) -> tuple[int, int | bytes]:
        return -counts[value], int(value) if integral else value.encode()

    kept = sorted((v for v in counts if counts[v] >= min_count), key=place)[:max_size]
    kept.sort(key=lambda v: (stable_hash(v) % shards, place(v)))
    assert numbered["value"].to_list() == kept
    assert numbered["id"].to_list() == [2 + oov_buckets + n for n in range(len(kept))]
    assert numbered["count"].to_list() == [counts[v] for v in kept]
    assert numbered["shard"].to_list() == [stable_hash(v) % shards for v in kept]
    assert numbered.schema["id"] == pl.Int64


def test_numbering_does_not_depend_on_the_order_of_the_counts() -> None:
    counts = pl.DataFrame({"value": ["b", "a", "é", "z", "B"], "count": [2, 2, 1, 1, 1]})
    wanted = number_vocabulary(counts, integral=False)
    assert wanted["value"].to_list() == ["a", "b", "B", "z", "é"]
    assert number_vocabulary(counts.reverse(), integral=False).equals(wanted)


@given(st.lists(st.text(max_size=5)), st.integers(0, 9))
def test_values_outside_fall_into_hash_buckets(values: list[str], buckets: int) -> None:
    ids = oov_ids(pl.Series("v", values, dtype=pl.String), buckets).to_list()
    assert ids == [2 + stable_hash(v) % buckets if buckets else MISSING for v in values]


# --- numbers


@given(st.integers(1, 10**9), st.integers(1, 300))
def test_ranks_are_exact_ceilings(count: int, parts: int) -> None:
    exact = [math.ceil(Fraction((count - 1) * i, parts)) for i in range(1, parts)]
    assert quantile_ranks(count, parts).tolist() == exact


@given(st.lists(FLOATS, min_size=1, max_size=60), st.integers(2, 12))
def test_edges_stand_at_their_ranks(values: list[float], bins: int) -> None:
    edges = numeric_edges(np.array(values), bins)
    ranked = [sorted(values)[math.ceil((len(values) - 1) * i / bins)] for i in range(1, bins)]
    assert edges.tolist() == sorted(set(ranked))


@given(
    st.lists(FLOATS | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=40),
    st.sets(FLOATS, max_size=12),
)
def test_numeric_tokens_count_the_edges_at_or_below(values: list[float], edges: set[float]) -> None:
    tokens = numeric_tokens(np.array(values, np.float64), np.array(sorted(edges), np.float64))
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [
        MISSING if math.isnan(v) else 2 + sum(e <= v for e in edges) for v in values
    ]


def test_negative_zero_is_zero() -> None:
    edges = numeric_edges(np.array([-0.0, -0.0, -0.0]), 2)
    assert not np.signbit(edges).any()
    assert numeric_tokens(np.array([-0.0, 0.0]), np.array([0.0])).tolist() == [3, 3]


# --- vectors


@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 40)),
        elements=st.floats(-9, 9, width=32) | COARSE,
    ),
    st.integers(2, 6),
)
def test_quantizer_edges_stand_at_their_ranks_in_each_dimension(
    columns: np.ndarray, quantiles: int
) -> None:
    columns = columns + np.float32(0)
    count = columns.shape[1]
    wanted = [
        [sorted(column)[math.ceil((count - 1) * i / quantiles)] for column in columns.tolist()]
        for i in range(1, quantiles)
    ]
    edges = quantizer_edges(columns.copy(), quantiles)
    assert edges.dtype == np.float32
    assert edges.tolist() == wanted


@st.composite
def quantized(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors [N, D], edges [q - 1, D] and the number of groups."""
    width, groups, count = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 9))
    quantiles = draw(st.integers(2, 5) | st.just(30))
    dim = width * groups
    vectors = draw(npst.arrays(np.float32, (count, dim), elements=COARSE))
    edges = draw(npst.arrays(np.float32, (quantiles - 1, dim), elements=COARSE))
    return vectors, np.sort(edges, axis=0), groups


def bins_of(vectors: np.ndarray, edges: np.ndarray) -> list[list[int]]:
    return [[sum(bool(e <= x) for e in edges[:, j]) for j, x in enumerate(row)] for row in vectors]


@given(quantized())
def test_embedding_tokens_are_the_contracts_sums(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    vectors, edges, groups = case
    q, width = len(edges) + 1, vectors.shape[1] // groups
    wanted = [
        [2 + sum(row[g * width + j] * q**j for j in range(width)) for g in range(groups)]
        for row in bins_of(vectors, edges)
    ]
    tokens = embedding_tokens(vectors, edges, groups)
    assert tokens.dtype == np.int32
    assert tokens.shape == (len(vectors), groups)
    assert tokens.tolist() == wanted


@given(quantized())
def test_decoding_embedding_tokens_gives_the_bins_back(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    vectors, edges, groups = case
    tokens = embedding_tokens(vectors, edges, groups)
    dim = vectors.shape[1]
    back = [decode_embedding_tokens(row, dim, len(edges) + 1).tolist() for row in tokens]
    assert back == bins_of(vectors, edges)


def test_a_missing_vector_has_no_bins() -> None:
    tokens = np.array([MISSING, 5], np.int32)
    assert decode_embedding_tokens(tokens, 4, 2).tolist() == [-1, -1, 1, 1]


@pytest.mark.parametrize(("quantiles", "width"), [(2, 20), (1024, 2), (2**20, 1), (4, 10)])
def test_the_largest_codes_are_exact(quantiles: int, width: int) -> None:
    edges = np.repeat(np.arange(1, quantiles, dtype=np.float32)[:, None], width, axis=1)
    vectors = np.full((1, width), quantiles, np.float32)
    assert embedding_tokens(vectors, edges, 1).tolist() == [[2 + quantiles**width - 1]]
    vectors[0, 0] = quantiles - 1.5
    assert embedding_tokens(vectors, edges, 1).tolist() == [[2 + quantiles**width - 2]]


def test_many_rows_are_encoded_in_blocks_like_one_by_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 4096)).astype(np.float32)
    edges = quantizer_edges(np.ascontiguousarray(vectors.T), 3)
    whole = embedding_tokens(vectors, edges, 1024)
    alone = np.concatenate([embedding_tokens(vectors[n : n + 1], edges, 1024) for n in range(300)])
    assert np.array_equal(whole, alone)
