"""Number of distinct rows, from the smallest hashes: exact if they are few, else an estimate.

The estimate by the k-th smallest value is that of Bar-Yossef et al., Counting distinct elements in a data stream (2002); its
relative standard error is about 1 / sqrt(k), 0.8% here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
MOST = 16_384
"""Number of hashes that are kept: fewer distinct rows are counted exactly."""
NO_HASHES: Hashes = np.array([], dtype=np.uint64)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_hashes(rows_NW: npt.NDArray[Any]) -> Hashes:
    """A hash of each row of 32-bit numbers: multilinear, with a last mixing (splitmix64)."""
    bits_NW = np.ascontiguousarray(rows_NW).view(np.uint32)
    odd_W = _mixed(np.arange(1, bits_NW.shape[1] + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    # Each number counts one more: a row of zeros has no hash of zero.
    return _mixed(np.einsum("nw,w->n", bits_NW, odd_W) + odd_W.sum(dtype=np.uint64))


def _mixed(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def smallest(*hashes: Hashes) -> Hashes:
    """The smallest distinct ones of some hashes, ascending, at most `MOST`."""
    return np.unique(np.concatenate(hashes))[:MOST]


def distinct_rows(hashes: Hashes) -> dict[str, Any]:
    """The number of distinct rows by the hashes that are left: {distinct, exact}."""
    if len(hashes) < MOST:
        return {"distinct": len(hashes), "exact": True}
    share = (int(hashes[-1]) + 1) / 2**64
    return {"distinct": round((MOST - 1) / share), "exact": False}
