"""Reductions of vectors before they are quantized: principal components (PCA), a random rotation, or both.

Every result is the same on any machine and for any number of rows at a time. Matrix products have factors of whole numbers,
small enough that each partial sum is one below 2^53: float64 computes them exactly, whatever the order of a BLAS. All else is
float64 arithmetic of single elements in a fixed order.

Shapes: N vectors, D dimensions, P dimensions after the reduction.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_schemas.tokens import Floats

SUFFIX = ".reduce"
"""Ends the name of a feature's reduction among its fitted tables."""
ITERATIONS = 40
"""Number of steps of orthogonal iteration."""
MAX_REDUCED_DIM = 4096
"""Number of dimensions that a reduced vector may have: the bounds below are made for it."""
MAX_SAMPLE_VALUES = 2**26
"""Number of values of the vectors that a reduction is fitted to: 256 MB."""
MAX_SAMPLE = 2**16
WEIGHT_BITS = 20
"""Weights are whole multiples of 2^-20."""
_REACH_BITS = 20
"""Differences from the mean have 20 bits up to the largest one of the sample."""
_CLIP_BITS = 22
"""Beyond 2^22, four times the largest difference of the sample, differences are cut."""
_SAMPLE_BITS = 18
"""Bits of differences in the covariance: 2^16 squares of them are below 2^53."""
_COVARIANCE_BITS = 26
_BASIS_BITS = 18
_ROWS = 8192
"""Number of vectors of a matrix product."""
_SEED = 20_250_301
LARGEST = float(np.finfo(np.float32).max)
Matrix = npt.NDArray[np.float64]


class Reduction(NamedTuple):
    """y = (x - mean) W, an affine map from D to P dimensions.

    Attributes:
        mean_D: the mean of the sample, float32.
        reach_D: the largest difference from it in the sample, by dimension, float32.
        weights_DP: orthonormal columns, float32, whole multiples of 2^-20.
    """

    mean_D: npt.NDArray[np.float32]
    reach_D: npt.NDArray[np.float32]
    weights_DP: npt.NDArray[np.float32]


def sample_limit(dim: int) -> int:
    """Number of vectors that a reduction is fitted to, at most: 65,536 up to 1,024 dimensions."""
    return min(MAX_SAMPLE, MAX_SAMPLE_VALUES // dim)


def reduce_vectors(values_ND: npt.NDArray[np.float32], to: Reduction) -> npt.NDArray[np.float32]:
    """Reduce vectors: [N, P] float32, finite: what is beyond the largest float32 is cut.

    Args:
        values_ND: [N, D], finite.
        to: a fitted reduction.
    """
    bits = _bits(to)
    weights_DP = np.ldexp(to.weights_DP.astype(np.float64), WEIGHT_BITS)
    reduced_NP = np.empty((len(values_ND), weights_DP.shape[1]), np.float32)
    for start in range(0, len(values_ND), _ROWS):
        rows_ND = _whole(values_ND[start : start + _ROWS], to.mean_D, bits, _CLIP_BITS)
        products_NP = rows_ND @ weights_DP + 0.0  # the sign of a zero depends on the machine
        scaled_NP = np.ldexp(products_NP, -bits - WEIGHT_BITS)
        reduced_NP[start : start + _ROWS] = np.clip(scaled_NP, -LARGEST, LARGEST)
    return reduced_NP


def _bits(of: Reduction) -> int:
    """The power of two by which differences from the mean are multiplied before they are rounded to whole numbers."""
    return _REACH_BITS - math.frexp(float(of.reach_D.max()))[1]


def _whole(
    values_ND: npt.NDArray[np.float32], mean_D: npt.NDArray[np.float32], bits: int, clip: int
) -> Matrix:
    """Differences from the mean times 2^bits as whole numbers, between -2^clip and 2^clip."""
    centred_ND = values_ND.astype(np.float64) - mean_D.astype(np.float64)
    rounded_ND = np.rint(np.ldexp(centred_ND, bits))
    return np.clip(rounded_ND, -(2.0**clip), 2.0**clip)


def fit_reduction(
    values_ND: npt.NDArray[np.float32], components: int | None, *, rotate: bool
) -> Reduction:
    """Fit a reduction.

    Principal components are found by orthogonal iteration, a fixed number of steps of power iteration with Gram-Schmidt
    orthonormalization (Golub and Van Loan, Matrix Computations, 8.2.4). Components of equal variance may be any basis of
    what they span.

    Args:
        values_ND: [N, D], finite, N between 1 and 65,536, D at most 4,096.
        components: P, the number of principal components, by descending variance; None keeps all D dimensions.
        rotate: whether a random rotation follows, the same one for all vectors with P dimensions.
    """
    mean_D = _mean(values_ND)
    reach_D = np.zeros(len(mean_D), np.float32)
    for start in range(0, len(values_ND), _ROWS):
        centred_ND = values_ND[start : start + _ROWS].astype(np.float64) - mean_D
        largest_D = np.minimum(np.abs(centred_ND).max(axis=0), LARGEST)
        np.maximum(reach_D, largest_D.astype(np.float32), out=reach_D)
    basis = Reduction(mean_D, reach_D, np.eye(len(mean_D), dtype=np.float32))
    weights_DP = None
    if components is not None:
        weights_DP = principal_components(_covariance(values_ND, basis), components)
    if rotate:
        rotation_PP = random_rotation(components or len(mean_D))
        if weights_DP is None:
            weights_DP = rotation_PP
        else:
            products_DP = _scaled(weights_DP, _BASIS_BITS) @ _scaled(rotation_PP, _BASIS_BITS)
            weights_DP = np.ldexp(products_DP, -2 * _BASIS_BITS)
    assert weights_DP is not None, "neither components nor a rotation"
    whole_DP = np.ldexp(_scaled(weights_DP, WEIGHT_BITS), -WEIGHT_BITS)
    return basis._replace(weights_DP=whole_DP.astype(np.float32))


def _mean(values_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean, from exact sums of whole numbers: [D]."""
    largest = float(np.abs(values_ND).max())
    bits = 36 - math.frexp(largest)[1]  # 2^16 numbers below 2^36 each
    sums_D = np.zeros(values_ND.shape[1])
    for start in range(0, len(values_ND), _ROWS):
        rows_ND = values_ND[start : start + _ROWS].astype(np.float64)
        sums_D += np.rint(np.ldexp(rows_ND, bits)).sum(axis=0)
    return np.ldexp(sums_D / len(values_ND), -bits).astype(np.float32)


def _covariance(values_ND: npt.NDArray[np.float32], of: Reduction) -> Matrix:
    """The sum of products of differences from the mean, in units that do not matter: [D, D] whole numbers."""
    bits = _bits(of) - (_REACH_BITS - _SAMPLE_BITS)
    products_DD = np.zeros((values_ND.shape[1], values_ND.shape[1]))
    for start in range(0, len(values_ND), _ROWS):
        rows_ND = _whole(values_ND[start : start + _ROWS], of.mean_D, bits, _SAMPLE_BITS)
        products_DD += rows_ND.T @ rows_ND
    return products_DD


def principal_components(products_DD: Matrix, count: int) -> Matrix:
    """The first eigenvectors of a covariance by orthogonal iteration: [D, P], orthonormal columns.

    The largest element of each is positive.

    Args:
        products_DD: covariances in any unit, symmetric.
        count: P.
    """
    exponent = _COVARIANCE_BITS - math.frexp(float(np.abs(products_DD).max()))[1]
    whole_DD = np.rint(np.ldexp(products_DD, exponent))
    # One more unit on the diagonal: directions in which the sample does not vary keep a length.
    whole_DD += np.eye(len(whole_DD))
    basis_DP = orthonormal(_random(len(whole_DD), count))
    for _ in range(ITERATIONS):
        basis_DP = orthonormal(whole_DD @ _scaled(basis_DP, _BASIS_BITS))
    largest_P = np.abs(basis_DP).argmax(axis=0)
    signs_P = np.where(basis_DP[largest_P, np.arange(count)] < 0, -1.0, 1.0)
    return basis_DP * signs_P


def random_rotation(count: int) -> Matrix:
    """A random orthogonal matrix, always the same one: [P, P]."""
    return orthonormal(_random(count, count))


def _random(rows: int, columns: int) -> Matrix:
    """Sums of four uniform whole numbers, almost normally distributed; the generator's raw bits never change."""
    raw = np.random.PCG64(_SEED).random_raw(rows * columns).astype(np.uint64)
    parts = [(raw >> np.uint64(16 * k) & np.uint64(0xFFFF)).astype(np.float64) for k in range(4)]
    total: Matrix = parts[0] + parts[1] + parts[2] + parts[3] - 2 * 0xFFFF
    return total.reshape(rows, columns)


def _scaled(matrix: Matrix, bits: int) -> Matrix:
    """Whole numbers: the matrix times 2^bits, rounded."""
    scaled: Matrix = np.rint(np.ldexp(matrix, bits))
    return scaled


def orthonormal(columns_DP: Floats) -> Matrix:
    """Orthonormal columns that span the same, by the modified Gram-Schmidt process, twice: [D, P].

    Args:
        columns_DP: linearly independent columns, P at most D.
    """
    # Rows are vectors here: contiguous ones.
    vectors_PD = np.ascontiguousarray(columns_DP.T).astype(np.float64)
    for _ in range(2):
        for k, vector_D in enumerate(vectors_PD):
            vector_D /= np.sqrt(_sums((vector_D * vector_D)[None])[0])
            later = vectors_PD[k + 1 :]
            later -= _sums(later * vector_D)[:, None] * vector_D
    return np.ascontiguousarray(vectors_PD.T)


def _sums(rows: Matrix) -> Matrix:
    """The sum of each row, by halves: an order that is the same on any machine."""
    while (width := rows.shape[1]) > 1:
        half = width // 2
        folded = rows[:, :half] + rows[:, half : 2 * half]
        if width % 2:
            folded[:, 0] += rows[:, -1]
        rows = folded
    return rows[:, 0]


def reduction_schema(width: int) -> pa.Schema:
    """The columns of a reduction to `width` dimensions; rows are sorted by dim."""
    return pa.schema(
        [
            pa.field("dim", pa.int32(), nullable=False),
            pa.field("mean", pa.float32(), nullable=False),
            pa.field("reach", pa.float32(), nullable=False),
            pa.field("weights", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def reduction_table(reduction: Reduction) -> pa.Table:
    """A reduction as a table."""
    dim, width = reduction.weights_DP.shape
    flat = pa.array(np.ascontiguousarray(reduction.weights_DP).ravel())
    return pa.table(
        [
            pa.array(np.arange(dim, dtype=np.int32)),
            pa.array(reduction.mean_D),
            pa.array(reduction.reach_D),
            pa.FixedSizeListArray.from_arrays(flat, width),
        ],
        schema=reduction_schema(width),
    )


def reduction_of(table: pa.Table) -> Reduction:
    """The reduction of a table whose rows are sorted by dim."""
    weights = table["weights"].combine_chunks()
    flat = weights.flatten().to_numpy(zero_copy_only=False)
    return Reduction(
        table["mean"].to_numpy(),
        table["reach"].to_numpy(),
        flat.reshape(len(table), weights.type.list_size),
    )
