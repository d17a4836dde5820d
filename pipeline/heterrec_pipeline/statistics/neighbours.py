"""How many of the nearest neighbours of vectors their tokens keep.

Shapes: N vectors, D dimensions, Q queries, K neighbours, Z tokens.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
VECTORS = 5_000
"""Number of vectors among which neighbours are searched."""
QUERIES = 500
"""Number of vectors whose neighbours are compared."""
NEAREST, AMONG = 10, 50
_GRID = 2.0**21
"""Numbers of unit vectors are rounded to 1 / 2**21: sums of products are exact in float64, in any order."""


def chance(vectors: int) -> float:
    """What `kept` is for tokens without any relation to the vectors."""
    return min(1.0, AMONG / max(1, vectors - 1))


def nearest(vectors_ND: Vectors) -> npt.NDArray[np.int64]:
    """The 10 nearest vectors by cosine of each of the first 500: [Q, 10]."""
    lengths_N = np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    unit_ND = np.rint(_GRID * vectors_ND / np.maximum(lengths_N, np.finfo(np.float64).tiny))
    cosine_QN = unit_ND[:QUERIES] @ unit_ND.T
    np.fill_diagonal(cosine_QN, -np.inf)
    return np.argpartition(-cosine_QN, NEAREST, axis=1)[:, :NEAREST]


def kept(tokens_NZ: npt.NDArray[np.int32], nearest_QK: npt.NDArray[np.int64]) -> float:
    """The mean share of the nearest vectors that are among the 50 with the most equal tokens.

    Args:
        tokens_NZ: tokens of all vectors.
        nearest_QK: see `nearest`.
    """
    among = min(AMONG, len(tokens_NZ) - 1)
    shares = []
    for query, nearest_K in enumerate(nearest_QK):
        equal_N = (tokens_NZ == tokens_NZ[query]).sum(axis=1)
        equal_N[query] = -1
        shares.append(share_among(equal_N, nearest_K, among))
    return float(np.mean(shares))


def share_among(
    similarity_N: npt.NDArray[Any], nearest_K: npt.NDArray[np.int64], among: int
) -> float:
    """The share of some vectors that are among the most similar ones; of equally similar ones the expected share.

    Args:
        similarity_N: to a query, which itself is the least similar.
        nearest_K: positions of the vectors.
        among: number of most similar ones.
    """
    limit = np.partition(similarity_N, -among)[-among]
    above, ties = int((similarity_N > limit).sum()), int((similarity_N == limit).sum())
    mine_K = similarity_N[nearest_K]
    found = (mine_K > limit).sum() + (mine_K == limit).sum() * (among - above) / ties
    return float(found / len(nearest_K))
