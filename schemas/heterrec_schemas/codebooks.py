"""Rules of codebooks: the nearest centroid, tokens by product and residual quantization, k-means.

Every result is that of float64 operations in a fixed order, on any machine and for any number of rows at a time.
Shapes: N vectors, D dimensions, W dimensions of a codebook, C codes of a codebook.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_schemas.tokens import FIRST_FREE, Floats

ITERATIONS = 20
"""Number of k-means iterations."""
Book = npt.NDArray[np.float32]
"""Centroids [C, W] of one codebook."""
_SCORES = 2**18
"""Number of scores computed at once: 2 MB."""


def product_tokens(values_ND: Floats, books: Sequence[Book]) -> npt.NDArray[np.int32]:
    """Tokens of product quantization: 2 + the nearest centroid of each group of consecutive dimensions.

    Args:
        values_ND: [N, D], finite.
        books: the Z codebooks, [at most `codes`, D / Z] each.

    Returns:
        [N, Z] int32.
    """
    width = values_ND.shape[1] // len(books)
    tokens = np.empty((len(values_ND), len(books)), np.int32)
    for group, book_CW in enumerate(books):
        group_NW = values_ND[:, group * width : (group + 1) * width]
        tokens[:, group] = nearest_codes(group_NW, book_CW) + FIRST_FREE
    return tokens


def residual_tokens(values_ND: Floats, books: Sequence[Book]) -> npt.NDArray[np.int32]:
    """Tokens of residual quantization: 2 + the nearest centroid to what earlier levels leave.

    Args:
        values_ND: [N, D], finite.
        books: the L codebooks, [at most `codes`, D] each.

    Returns:
        [N, L] int32.
    """
    tokens = np.empty((len(values_ND), len(books)), np.int32)
    rest_ND = values_ND.astype(np.float64)
    for level, book_CD in enumerate(books):
        codes_N = nearest_codes(rest_ND, book_CD)
        rest_ND -= book_CD[codes_N]
        tokens[:, level] = codes_N + FIRST_FREE
    return tokens


def nearest_codes(values_NW: Floats, book_CW: Book) -> npt.NDArray[np.int64]:
    """The code of the nearest centroid of each vector, the smallest one of several: [N].

    The distance is the sum of (x_j - c_j)^2 over j = 0, 1, ..., in float64. A matrix product, whose last bits depend on the
    machine and on N, only finds the few centroids that can be the nearest: all within its largest possible error.

    Args:
        values_NW: [N, W] finite float32 or float64.
        book_CW: [C, W] finite float32.
    """
    count, width = values_NW.shape
    centroids_CW = book_CW.astype(np.float64)
    halves_C = np.einsum("cw,cw->c", centroids_CW, centroids_CW) / 2
    longest = np.sqrt(2 * halves_C.max())
    # Rounding errors of both sides are below 2 (W + 4) eps (|x| + |c|)^2.
    error = 4 * (width + 4) * np.finfo(np.float64).eps
    codes_N = np.empty(count, np.int64)
    step = max(1, _SCORES // len(book_CW))
    for start in range(0, count, step):
        some_NW = values_NW[start : start + step].astype(np.float64)
        scores_NC = halves_C - some_NW @ centroids_CW.T
        best_N = scores_NC.argmin(axis=1)
        lengths_N = np.sqrt(np.einsum("nw,nw->n", some_NW, some_NW))
        limits_N = scores_NC[np.arange(len(best_N)), best_N] + error * (lengths_N + longest) ** 2
        near_NC = scores_NC <= limits_N[:, None]
        if np.count_nonzero(near_NC) > len(best_N):
            _choose_exactly(some_NW, centroids_CW, near_NC, best_N)
        codes_N[start : start + step] = best_N
    return codes_N


def _choose_exactly(
    values_NW: npt.NDArray[np.float64],
    centroids_CW: npt.NDArray[np.float64],
    near_NC: npt.NDArray[np.bool_],
    best_N: npt.NDArray[np.int64],
) -> None:
    """Set the nearest code of the vectors that have several near centroids."""
    (several,) = np.nonzero(near_NC.sum(axis=1) > 1)
    rows, codes = np.nonzero(near_NC[several])
    distances = np.zeros(len(rows))
    for values_N, centroids_C in zip(values_NW[several].T, centroids_CW.T, strict=True):
        difference = values_N[rows] - centroids_C[codes]
        distances += difference * difference
    order = np.lexsort((codes, distances, rows))
    first = order[
        np.append(True, np.diff(rows) > 0)
    ]  # sorting has kept the number of entries of each row
    best_N[several] = codes[first]


def fit_product(values_ND: Floats, groups: int, codes: int) -> list[Book]:
    """Codebooks of product quantization, one k-means for each group of consecutive dimensions.

    Args:
        values_ND: [N, D], the sample in its order, finite, without -0.0.
        groups: Z.
        codes: number of centroids of a codebook.
    """
    width = values_ND.shape[1] // groups
    starts = range(0, values_ND.shape[1], width)
    return [fit_book(values_ND[:, start : start + width], codes) for start in starts]


def fit_residual(values_ND: Floats, levels: int, codes: int) -> list[Book]:
    """Codebooks of residual quantization: k-means of the vectors, then of what is left of them.

    Args:
        values_ND: [N, D], the sample in its order, finite, without -0.0.
        levels: L.
        codes: number of centroids of a codebook.
    """
    rest_ND = values_ND.astype(np.float64)
    books = []
    for _ in range(levels):
        books.append(fit_book(rest_ND, codes))
        rest_ND -= books[-1][nearest_codes(rest_ND, books[-1])]
    return books


def fit_book(values_NW: Floats, codes: int) -> Book:
    """The centroids of k-means: [at most `codes`, W] float32.

    The first centroids are the first `codes` distinct vectors in float32, or all of them if they are fewer. In each of
    `ITERATIONS` iterations a centroid becomes the mean of its vectors: their sum in float64 in the order of the sample,
    divided by their number, in float32. A centroid without a vector stays.

    Args:
        values_NW: [N, W], N at least 1, finite.
        codes: maximum number of centroids.
    """
    firsts: dict[bytes, int] = {}
    for row, vector in enumerate(_float32(values_NW)):
        firsts.setdefault(vector.tobytes(), row)
        if len(firsts) == codes:
            break
    book_CW = _float32(values_NW[list(firsts.values())])
    before_N = None
    for _ in range(ITERATIONS):
        codes_N = nearest_codes(values_NW, book_CW)
        if before_N is not None and np.array_equal(codes_N, before_N):
            break  # further iterations change nothing
        before_N = codes_N
        counts_C = np.bincount(codes_N, minlength=len(book_CW))
        used = counts_C > 0
        for dim, values_N in enumerate(values_NW.T):
            # bincount adds one value after the other
            sums_C = np.bincount(codes_N, weights=values_N, minlength=len(book_CW))
            book_CW[used, dim] = _float32(sums_C[used] / counts_C[used])
    return book_CW


def _float32(values: Floats) -> npt.NDArray[np.float32]:
    """Values as float32 without -0.0; those beyond its range become its largest."""
    largest = np.finfo(np.float32).max
    clipped: npt.NDArray[np.float32] = np.clip(values, -largest, largest).astype(np.float32)
    return clipped + np.float32(0.0)


def codebooks_schema(width: int) -> pa.Schema:
    """The columns of a table of codebooks with centroids of `width` dimensions; rows are sorted by codebook, then code."""
    return pa.schema(
        [
            pa.field("codebook", pa.int32(), nullable=False),
            pa.field("code", pa.int32(), nullable=False),
            pa.field("centroid", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def codebook_table(books: Sequence[Book]) -> pa.Table:
    """Codebooks as a table."""
    width = books[0].shape[1]
    flat = np.concatenate(books).ravel()
    return pa.table(
        [
            pa.array(np.repeat(np.arange(len(books), dtype=np.int32), list(map(len, books)))),
            pa.array(np.concatenate([np.arange(len(b), dtype=np.int32) for b in books])),
            pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
        ],
        schema=codebooks_schema(width),
    )


def books_of(table: pa.Table) -> list[Book]:
    """The codebooks of a table, in the order of its rows."""
    centroids = table["centroid"].combine_chunks()
    flat = centroids.flatten().to_numpy(zero_copy_only=False)
    whole_CW = flat.reshape(-1, centroids.type.list_size)
    starts = np.flatnonzero(np.diff(table["codebook"].to_numpy())) + 1
    return list(np.split(whole_CW, starts))
