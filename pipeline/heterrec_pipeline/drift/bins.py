"""The bins of a feature, and the population stability index between two counts of them."""

import math
from collections.abc import Sequence

import numpy as np

from heterrec_pipeline.drift.tally import Numbers, Total, count_shape
from heterrec_schemas.drift import CategoricalBins, Counts
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    QuantileEmbedding,
)
from heterrec_schemas.tokens import FIRST_FREE, MISSING

MOST_FREQUENT = 30
"""Number of values of a categorical feature that have a bin of their own."""
MOST_BINS = 16
"""Maximum number of bins of a numeric feature, and of codes of a codebook; more are merged."""
FLOOR = 0.01
"""Smallest share of a bin that is compared: otherwise the weight of an empty bin would grow with the number of rows."""


def choose_bins(feature: Feature, total: Total, size: int) -> CategoricalBins | None:
    """The bins of a categorical feature whose baseline is a generation; None for other kinds.

    Args:
        feature: the feature.
        total: its tokens in that generation.
        size: its vocabulary_size there.
    """
    if not isinstance(feature, CategoricalFeature):
        return None
    values = total.counts[FIRST_FREE + feature.oov_buckets :]
    (seen,) = np.nonzero(values)
    most = seen[np.lexsort((seen, -values[seen]))[:MOST_FREQUENT]]
    tokens = np.sort(most) + FIRST_FREE + feature.oov_buckets
    return CategoricalBins(tokens=tokens.tolist(), largest=size - 1)


def count_bins(feature: Feature, total: Total, bins: CategoricalBins | None, size: int) -> Counts:
    """The number of tokens per bin.

    Args:
        feature: the feature.
        total: its tokens.
        bins: its bins, if it is categorical.
        size: its vocabulary_size.
    """
    if isinstance(feature, EmbeddingFeature):
        table = total.counts[1:].reshape(count_shape(feature))
        if not isinstance(feature, QuantileEmbedding):
            table = _merged(table)
        return int(total.counts[0]), table.tolist()
    if bins is None:
        return _numeric(total, size - FIRST_FREE)
    assert isinstance(feature, CategoricalFeature)
    first, end = (
        FIRST_FREE + feature.oov_buckets,
        max(bins.largest, FIRST_FREE + feature.oov_buckets - 1) + 1,
    )
    counts = np.concatenate([total.counts, np.zeros(max(0, end - len(total.counts)), np.int64)])
    most = counts[bins.tokens]
    outside, known, new = counts[FIRST_FREE:first], counts[first:end], counts[end:]
    parts = (counts[MISSING], outside.sum(), *most, known.sum() - most.sum(), new.sum())
    return [int(n) for n in parts]


def _numeric(total: Total, bins: int) -> list[int]:
    """Missing, then the bins, merged if they are more than 16."""
    counts = np.zeros(MISSING + 1 + bins, dtype=np.int64)
    counts[: len(total.counts)] = total.counts
    return [int(counts[MISSING]), *_merged(counts[None, FIRST_FREE:])[0].tolist()]


def _merged(counts_XB: Numbers) -> Numbers:
    """Counts of B bins, merged where B is above 16: bin b becomes bin b * 16 // B."""
    bins = counts_XB.shape[1]
    if bins <= MOST_BINS:
        return counts_XB
    starts = [-(-b * bins // MOST_BINS) for b in range(MOST_BINS)]
    return np.add.reduceat(counts_XB, starts, axis=1)


def psi(before: Counts, after: Counts) -> float | None:
    """The population stability index, rounded to 6 places; None if one side has no rows.

    It is the sum of (r - p) ln(r / p) over all bins, p and r being the bin's shares before and after, at least 0.01. Of an
    embedding it is the mean over the dimensions (pq, rq: the tokens), each with the bin of rows without a vector.
    """
    pairs = list(zip(_tables(before), _tables(after), strict=True))
    if not all(sum(p) and sum(r) for p, r in pairs):
        return None
    return round(math.fsum(_index(p, r) for p, r in pairs) / len(pairs), 6)


def _tables(counts: Counts) -> list[list[int]]:
    """One table of counts, or one per dimension."""
    if isinstance(counts, list):
        return [counts]
    missing, dimensions = counts
    return [[missing, *bins] for bins in dimensions]


def _index(before: Sequence[int], after: Sequence[int]) -> float:
    shares = zip(_shares(before), _shares(after), strict=True)
    return math.fsum((r - p) * math.log(r / p) for p, r in shares)


def _shares(counts: Sequence[int]) -> list[float]:
    everything = sum(counts)
    return [max(count / everything, FLOOR) for count in counts]
