"""Number the distinct rows of a table of tokens, so that cells are compared as single integers."""

import numpy as np
import numpy.typing as npt

_CHUNK = 65_536
"""Rows compared or hashed at a time."""


def first_equal_rows(
    tokens_IC: npt.NDArray[np.int32], *, ordered: bool = True
) -> npt.NDArray[np.int64]:
    """Number of the first row that equals each row: [I]; `ordered` states whether the order of the tokens matters.

    Rows are grouped by a 64-bit hash and then compared, so a collision costs another round but not correctness. Besides
    the result and the hashes, memory holds one chunk of rows.
    """
    hashes_I = _hashes(tokens_IC, ordered)
    first_I = np.arange(len(tokens_IC))
    pending = first_I.copy()
    while len(pending):
        _, firsts, groups = np.unique(hashes_I[pending], return_index=True, return_inverse=True)
        candidates = pending[firsts][groups]
        equal = _equal(tokens_IC, pending, candidates, ordered)
        first_I[pending[equal]] = candidates[equal]
        pending = pending[~equal]
    return first_I


def _hashes(tokens_IC: npt.NDArray[np.int32], ordered: bool) -> npt.NDArray[np.uint64]:
    """A weighted sum of each row, modulo 2^64."""
    weights_C = np.random.Generator(np.random.Philox(0)).integers(
        2**64, size=tokens_IC.shape[1], dtype=np.uint64
    )
    hashes_I = np.empty(len(tokens_IC), np.uint64)
    for start in range(0, len(tokens_IC), _CHUNK):
        rows_RC = _canonical(tokens_IC[start : start + _CHUNK], ordered)
        hashes_I[start : start + _CHUNK] = rows_RC.astype(np.uint64) @ weights_C
    return hashes_I


def _equal(
    tokens_IC: npt.NDArray[np.int32],
    left_R: npt.NDArray[np.int64],
    right_R: npt.NDArray[np.int64],
    ordered: bool,
) -> npt.NDArray[np.bool_]:
    """Whether the rows of two lists of row numbers are equal, pair by pair."""
    equal_R: npt.NDArray[np.bool_] = left_R == right_R
    open_R = np.flatnonzero(~equal_R)
    for start in range(0, len(open_R), _CHUNK):
        pairs = open_R[start : start + _CHUNK]
        rows_RC, others_RC = (
            _canonical(tokens_IC[numbers_R[pairs]], ordered) for numbers_R in (left_R, right_R)
        )
        equal_R[pairs] = (rows_RC == others_RC).all(axis=1)
    return equal_R


def _canonical(rows_RC: npt.NDArray[np.int32], ordered: bool) -> npt.NDArray[np.int32]:
    return rows_RC if ordered else np.sort(rows_RC, axis=1)
