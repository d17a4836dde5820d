"""Reductions of vectors against the reference, which adds one number at a time, and against LAPACK's eigenvalues."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_schemas import reductions
from heterrec_schemas.reductions import (
    fit_reduction,
    orthonormal,
    reduce_vectors,
    reduction_of,
    reduction_schema,
    reduction_table,
)
from heterrec_schemas.testing import reference_reductions as by_hand

MANY = settings(deadline=None, derandomize=True, database=None, max_examples=60)
COARSE = st.integers(-2, 2).map(float)
"""Values with many equal vectors, and directions without any difference."""
FAR = st.sampled_from([1000.0, 1000.0001, 1e-42, -3.4e38, 3.4e38, 16777217.0, -0.0])
"""Values whose differences are small against them, and the ends of float32."""


def vectors(width: int, values: Any, most: int = 12) -> Any:
    rows = st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=most)
    return rows.map(lambda r: np.array(r, np.float32))


def clustered(rows: int, dims: int) -> Any:
    """Vectors whose dimensions depend on each other, with variances that fall off."""
    rng = np.random.default_rng(5)
    spread = rng.normal(size=(dims, dims)) * np.geomspace(1, 0.01, dims)
    return (rng.normal(size=(rows, dims)) @ spread.T + rng.normal(size=dims)).astype(np.float32)


@MANY
@given(st.data(), st.integers(1, 7), st.sampled_from([COARSE, FAR, st.floats(-1, 1, width=32)]))
def test_it_is_that_of_plain_sums(data: Any, width: int, values: Any) -> None:
    sample, others = data.draw(vectors(width, values)), data.draw(vectors(width, values))
    components = data.draw(st.none() | st.integers(1, width))
    rotate = components is None or data.draw(st.booleans())
    found = fit_reduction(sample, components, rotate=rotate)
    want = by_hand.fit({"reduce": {"pca": components, "rotate": rotate}}, sample.tolist())
    assert found.mean_D.tolist() == want[0]
    assert found.reach_D.tolist() == want[1]
    assert found.weights_DP.T.tolist() == want[2]
    reduced = [by_hand.reduced(vector, want) for vector in others.tolist()]
    assert reduce_vectors(others, found).tolist() == reduced


@pytest.mark.parametrize("rotate", [False, True])
def test_components_keep_as_much_variance_as_any(rotate: bool) -> None:
    sample = clustered(3000, 48)
    found = fit_reduction(sample, 12, rotate=rotate)
    weights = found.weights_DP.astype(np.float64)
    assert np.allclose(weights.T @ weights, np.eye(12), atol=1e-4)
    kept = np.var(reduce_vectors(sample, found).astype(np.float64), axis=0)
    best = np.linalg.eigvalsh(np.cov(sample.T.astype(np.float64), bias=True))[::-1][:12]
    assert kept.sum() == pytest.approx(best.sum(), rel=1e-3)
    if rotate:
        assert kept.max() / kept.min() < best.max() / best.min() / 3
    else:
        assert (np.diff(kept) < 0).all()
        assert kept == pytest.approx(best, rel=0.02)


def test_a_rotation_keeps_distances() -> None:
    sample = clustered(200, 30)
    turned = reduce_vectors(sample, fit_reduction(sample, None, rotate=True))
    assert turned.shape == sample.shape
    far = np.linalg.norm(sample[:, None] - sample[None], axis=2)
    assert np.linalg.norm(turned[:, None] - turned[None], axis=2) == pytest.approx(far, rel=1e-3)


def test_neither_order_nor_rows_at_a_time_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = clustered(500, 40)
    found = fit_reduction(sample, 16, rotate=True)
    whole = reduce_vectors(sample, found)
    for rows in (1, 7, 64):
        monkeypatch.setattr(reductions, "_ROWS", rows)
        mixed = fit_reduction(sample[::-1], 16, rotate=True)
        assert all(np.array_equal(a, b) for a, b in zip(found, mixed, strict=True))
        assert np.array_equal(reduce_vectors(sample, found), whole)
    some = found._replace(weights_DP=found.weights_DP[:, 3:9])
    assert np.array_equal(reduce_vectors(sample, some), whole[:, 3:9])


def test_products_are_exact_at_the_largest_sizes() -> None:
    """The widest vectors that a spec allows, whose differences from the mean are at the ends or cut."""
    dims = reductions.MAX_REDUCED_DIM
    weight = np.float32(np.rint(2**20 / np.sqrt(dims)) / 2**20)
    weights_DP = np.where(np.arange(dims) % 3, weight, -weight).astype(np.float32)[:, None]
    ones_D = np.ones(dims, np.float32)
    found = reductions.Reduction(0 * ones_D, ones_D, weights_DP)
    rng = np.random.default_rng(0)
    values_ND = rng.choice(np.array([-9.0, -4.0, 1 / 3, 4.0], np.float32), (50, dims))
    by_rows = (found.mean_D.tolist(), found.reach_D.tolist(), weights_DP.T.tolist())
    want = [by_hand.reduced(vector, by_rows) for vector in values_ND.tolist()]
    assert reduce_vectors(values_ND, found).tolist() == want
    assert reductions.MAX_SAMPLE * 2 ** (2 * reductions._SAMPLE_BITS) <= 2**53


def test_orthonormal_columns_of_almost_equal_ones() -> None:
    columns = np.ones((6, 3)) + np.eye(6, 3) * 1e-6
    found = orthonormal(columns)
    assert np.allclose(found.T @ found, np.eye(3), atol=1e-9)


def test_tables() -> None:
    found = fit_reduction(clustered(20, 5), 3, rotate=False)
    table = reduction_table(found)
    assert table.schema == reduction_schema(3)
    assert all(np.array_equal(a, b) for a, b in zip(found, reduction_of(table), strict=True))
