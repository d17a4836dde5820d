"""The reference's reductions of vectors: means, principal components and rotations, one number at a time.

Whole numbers are Python's; other numbers are float64, added by halves.
"""

import math

import numpy as np

from heterrec_schemas.testing.reference_values import Row, float32

SAMPLE, SAMPLE_VALUES = 2**16, 2**26
SEED = 20_250_301
STEPS = 40
LARGEST = float32(3.4028234663852886e38)
Vector = list[float]
Reduction = tuple[Vector, Vector, list[Vector]]
"""The mean and the largest differences from it by dimension, and a list of weights for each result."""


def sample_size(dim: int, fit_sample: int) -> int:
    """The number of vectors that a reduction is fitted to."""
    return min(SAMPLE, SAMPLE_VALUES // dim, fit_sample)


def reduced(vector: Vector, reduction: Reduction) -> Vector:
    """A vector with as many dimensions as there are lists of weights."""
    mean, reach, weights = reduction
    bits = _bits(reach)
    whole = [_whole(x - m, bits, 22) for x, m in zip(vector, mean, strict=True)]
    out = []
    for column in weights:
        products = (x * round(math.ldexp(w, 20)) for x, w in zip(whole, column, strict=True))
        scaled = math.ldexp(float(sum(products)), -bits - 20)
        out.append(float32(max(-LARGEST, min(LARGEST, scaled))))
    return out


def fit(feature: Row, vectors: list[Vector]) -> Reduction:
    """The reduction of a feature, from its sample."""
    dims = range(len(vectors[0]))
    components, rotate = feature["reduce"].get("pca"), feature["reduce"].get("rotate", False)
    bits = 36 - math.frexp(max(abs(x) for v in vectors for x in v))[1]
    sums = [sum(round(math.ldexp(v[d], bits)) for v in vectors) for d in dims]
    mean = [float32(math.ldexp(total / len(vectors), -bits)) for total in sums]
    reach = [min(float32(max(abs(v[d] - mean[d]) for v in vectors)), LARGEST) for d in dims]
    bits = _bits(reach) - 2
    whole = [[_whole(v[d] - mean[d], bits, 18) for d in dims] for v in vectors]
    weights = [[float(a == b) for a in dims] for b in dims]
    if components is not None:
        products = [[sum(v[a] * v[b] for v in whole) for b in dims] for a in dims]
        weights = principal_components(products, components)
    if rotate:
        rotation = orthonormal(_random(len(weights), len(weights)))
        if components is None:
            weights = rotation
        else:
            scaled = [[_scaled(x, 18) for x in row] for row in weights]
            weights = [
                [
                    math.ldexp(
                        float(
                            sum(_scaled(r, 18) * w[d] for r, w in zip(turn, scaled, strict=True))
                        ),
                        -36,
                    )
                    for d in dims
                ]
                for turn in rotation
            ]
    return mean, reach, [[math.ldexp(_scaled(x, 20), -20) for x in row] for row in weights]


def principal_components(products: list[list[int]], count: int) -> list[Vector]:
    """The first eigenvectors by orthogonal iteration; the largest element of each is positive."""
    largest = float(max(abs(x) for row in products for x in row))
    shift = 26 - math.frexp(largest)[1]
    scaled = [[_scaled(float(x), shift) for x in row] for row in products]
    for d, row in enumerate(scaled):
        row[d] += 1
    found = orthonormal(_random(len(products), count))
    for _ in range(STEPS):
        whole = [[_scaled(x, 18) for x in vector] for vector in found]
        found = orthonormal(
            [
                [float(sum(a * b for a, b in zip(row, vector, strict=True))) for row in scaled]
                for vector in whole
            ]
        )
    out = []
    for vector in found:
        most = max(vector, key=abs)
        out.append([x if most > 0 else -x for x in vector])
    return out


def orthonormal(vectors: list[Vector]) -> list[Vector]:
    """The modified Gram-Schmidt process, twice."""
    rows = [list(v) for v in vectors]
    for _ in range(2):
        for k, row in enumerate(rows):
            length = math.sqrt(by_halves([x * x for x in row]))
            row[:] = [x / length for x in row]
            for later in rows[k + 1 :]:
                along = by_halves([x * y for x, y in zip(later, row, strict=True)])
                later[:] = [x - along * y for x, y in zip(later, row, strict=True)]
    return rows


def by_halves(terms: Vector) -> float:
    """The sum of the first half and the second one, element by element, until one is left; an odd last one is added first."""
    while len(terms) > 1:
        half = len(terms) // 2
        folded = [terms[k] + terms[half + k] for k in range(half)]
        if len(terms) % 2:
            folded[0] += terms[-1]
        terms = folded
    return terms[0]


def _random(dims: int, count: int) -> list[Vector]:
    """`count` vectors: the sums of the four 16-bit parts of PCG64's numbers, dimension by dimension."""
    raw = [int(n) for n in np.random.PCG64(SEED).random_raw(dims * count)]
    sums = [float(sum(n >> 16 * k & 0xFFFF for k in range(4)) - 2 * 0xFFFF) for n in raw]
    return [[sums[d * count + k] for d in range(dims)] for k in range(count)]


def _bits(reach: Vector) -> int:
    return 20 - math.frexp(max(reach))[1]


def _whole(difference: float, bits: int, clip: int) -> int:
    whole, largest = round(math.ldexp(difference, bits)), 1 << clip
    return max(-largest, min(largest, whole))


def _scaled(x: float, bits: int) -> int:
    whole: int = round(math.ldexp(x, bits))
    return whole
