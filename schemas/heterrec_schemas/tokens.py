"""Token rules: values to vocabulary ids, numbers to bins, vectors to Z grouped quantile tokens.

Shapes: N items, D dimensions, Z groups of m = D / Z dimensions, q quantiles.

polars is imported by the functions that need it: a service, whose image has no polars, only needs the ids below.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from heterrec_schemas.hashing import hash_texts

if TYPE_CHECKING:
    import polars as pl

PADDING = 0
MISSING = 1
FIRST_FREE = 2
ITEM_VOCABULARY = "item"
VALUES_PER_SHARD = 2**18
"""Number of values of a vocabulary shard, unless the spec declares the number of shards."""

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def vocabulary_shards(values: int, declared: int | None = None) -> int:
    """V: the declared number of vocabulary shards, else 1 up to 2^18 values, else a power of two."""
    if declared is not None:
        return declared
    if values <= VALUES_PER_SHARD:
        return 1
    return 1 << (-(-values // VALUES_PER_SHARD) - 1).bit_length()


def number_vocabulary(
    counts: "pl.DataFrame",
    *,
    integral: bool,
    oov_buckets: int = 0,
    shards: int | None = None,
    min_count: int = 1,
    max_size: int | None = None,
) -> "pl.DataFrame":
    """Number values by shard of their hash, then by descending count, then by value.

    Args:
        counts: columns `value` (text, distinct) and `count` (int64).
        integral: order values as integers rather than by their UTF-8 bytes.
        oov_buckets: number of ids between missing (1) and the first value.
        shards: V, or None to derive it from the size.
        min_count: values seen less often are out of vocabulary.
        max_size: only the most frequent values are kept (ties: the smaller value).

    Returns:
        Columns `id` (int64), `value` (text), `count` (int64), `shard` (uint32), sorted by id.
    """
    import polars as pl

    order = pl.col("value").cast(pl.Int64) if integral else pl.col("value")
    kept = counts.filter(pl.col("count") >= min_count).with_columns(order=order)
    if max_size is not None:
        kept = kept.sort(["count", "order"], descending=[True, False]).head(max_size)
    total = vocabulary_shards(len(kept), shards)
    shard = (hash_texts(kept["value"]) % total).cast(pl.UInt32)
    by = {"shard": False, "count": True, "order": False}
    if kept["count"].n_unique() < 2:  # keys of a catalogue: sorting by fewer columns is faster
        del by["count"]
    return (
        kept.with_columns(shard=shard)
        .sort(list(by), descending=list(by.values()))
        .with_columns(
            id=pl.int_range(FIRST_FREE + oov_buckets, FIRST_FREE + oov_buckets + pl.len())
        )
        .select(pl.col("id").cast(pl.Int64), "value", "count", "shard")
    )


def oov_ids(values: "pl.Series", oov_buckets: int) -> "pl.Series":
    """Ids of texts outside a vocabulary: 2 + hash mod buckets (int64), or missing with 0 buckets."""
    import polars as pl

    if oov_buckets == 0:
        return pl.Series(values.name, np.full(len(values), MISSING, dtype=np.int64))
    return (hash_texts(values) % oov_buckets).cast(pl.Int64) + FIRST_FREE


def quantile_ranks(count: int, parts: int) -> npt.NDArray[np.int64]:
    """ceil((count - 1) * i / parts) for i = 1 .. parts - 1, in integer arithmetic."""
    i = np.arange(1, parts, dtype=np.int64)
    return -((-(count - 1) * i) // parts)


def numeric_edges(values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Quantile edges of n finite numbers, ascending, repeated ones merged.

    Args:
        values: [n] float64, n at least 1, in any order.
        bins: number of bins.

    Returns:
        [at most bins - 1] float64.
    """
    ordered = np.sort(values + 0.0)
    return np.unique(ordered[quantile_ranks(len(ordered), bins)])


def numeric_tokens(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.int32]:
    """Tokens of numbers: 2 + the number of edges at or below; NaN is missing (1).

    Args:
        values: [N] float64; infinities fall in the first and last bin.
        edges: ascending float64.
    """
    bins = np.searchsorted(edges, values + 0.0, side="right")
    return np.where(np.isnan(values), MISSING, FIRST_FREE + bins).astype(np.int32)


def quantizer_edges(values_DN: npt.NDArray[np.float32], quantiles: int) -> npt.NDArray[np.float32]:
    """Quantile edges of each dimension, repeated ones kept. Reorders its argument in place.

    Args:
        values_DN: [D, N] float32, finite, N at least 1, without -0.0; scratch space afterwards.
        quantiles: q.

    Returns:
        [q - 1, D] float32.
    """
    ranks = quantile_ranks(values_DN.shape[1], quantiles)
    values_DN.partition(np.unique(ranks), axis=1)
    return np.ascontiguousarray(values_DN[:, ranks].T)


def embedding_tokens(
    values_ND: npt.NDArray[np.float32], edges_QD: npt.NDArray[np.float32], groups: int
) -> npt.NDArray[np.int32]:
    """Z grouped quantile tokens of vectors.

    bin_j = the number of edges of dimension j at or below x_j, and for the group of dimensions
    g*m .. (g+1)*m - 1 token_g = 2 + sum_j bin_j * q**j, j = 0 for the group's first.

    Args:
        values_ND: [N, D] float32, finite.
        edges_QD: [q - 1, D] float32, ascending along the first axis.
        groups: Z.

    Returns:
        [N, Z] int32.
    """
    count, dim = values_ND.shape
    width, quantiles = dim // groups, len(edges_QD) + 1
    tokens = np.empty((count, groups), dtype=np.int32)
    narrow = np.min_scalar_type(quantiles**width - 1)  # codes are below 2**20
    step = max(1, 2**19 // dim)  # number of rows whose bins fit into the cache
    for start in range(0, count, step):
        bins = _bins(values_ND[start : start + step], edges_QD).astype(narrow, copy=False)
        bins_NZW = bins.reshape(-1, groups, width)
        codes = bins_NZW[:, :, width - 1].copy()
        for j in range(width - 2, -1, -1):
            codes *= narrow.type(quantiles)
            codes += bins_NZW[:, :, j]
        np.add(codes, FIRST_FREE, out=tokens[start : start + step], dtype=np.int32)
    return tokens


def _bins(
    values_ND: npt.NDArray[np.float32], edges_QD: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8] | npt.NDArray[np.int32]:
    """Number of edges of its dimension at or below each value: [N, D]."""
    if len(edges_QD) <= 32:
        bins = np.zeros(values_ND.shape, dtype=np.uint8)
        for edge_D in edges_QD:
            bins += values_ND >= edge_D
        return bins
    wide = np.empty(values_ND.shape, dtype=np.int32)
    for d in range(values_ND.shape[1]):
        wide[:, d] = np.searchsorted(edges_QD[:, d], values_ND[:, d], side="right")
    return wide


def decode_embedding_tokens(
    tokens_Z: npt.NDArray[np.int32], dim: int, quantiles: int
) -> npt.NDArray[np.int32]:
    """The bin of each dimension by an item's tokens: [D] int32, -1 where missing."""
    width = dim // len(tokens_Z)
    codes = tokens_Z.astype(np.int64) - FIRST_FREE
    bins = codes[:, None] // quantiles ** np.arange(width, dtype=np.int64) % quantiles
    bins[tokens_Z < FIRST_FREE] = -1
    return bins.reshape(-1).astype(np.int32)


def feature_stem(side: str, name: str) -> str:
    """The name of a feature's files and columns: `<feature>`, or `user_<feature>` on the users' side."""
    return name if side == "item" else f"user_{name}"
