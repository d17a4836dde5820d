"""Count the tokens of a feature: shard by shard, then added up.

Shapes: N rows, Z tokens of a vector, C codes per token. Of quantile tokens: D dimensions, m = D / Z, q quantiles, C = q ** m.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_pipeline.statistics.distinct import NO_HASHES, Hashes, row_hashes, smallest
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    QuantileEmbedding,
)
from heterrec_schemas.tokens import FIRST_FREE, MISSING

Numbers = npt.NDArray[np.int64]
_NONE = np.array([], dtype=np.int64)
MOST_GROUPED = 2**20
TALLY_SCHEMA = pa.schema(
    [
        pa.field("rows", pa.int64()),
        pa.field("oov_rows", pa.int64()),
        pa.field("tokens", pa.list_(pa.int64())),
        pa.field("counts", pa.list_(pa.int64())),
        pa.field("codes", pa.binary()),
        pa.field("grouped", pa.list_(pa.int64())),
        pa.field("hashes", pa.list_(pa.uint64())),
    ]
)


class Tally(NamedTuple):
    """The tokens of a feature in some rows.

    Attributes:
        rows: number of rows.
        oov_rows: number of rows with at least one token of an out-of-vocabulary bucket.
        tokens: the distinct tokens, ascending; empty for an embedding.
        counts: how often each occurs; of an embedding: the rows without a vector, then the table of `count_shape`.
        codes: of an embedding: which codes of each token occur, as bits [Z, ceil(C / 8)].
        grouped: of an embedding: how often each code of each token occurs [Z * C]; empty if these are more than 2**20.
        hashes: of an embedding: the smallest hashes of its rows of tokens; see `statistics.distinct`.
    """

    rows: int
    oov_rows: int
    tokens: Numbers
    counts: Numbers
    codes: bytes = b""
    grouped: Numbers = _NONE
    hashes: Hashes = NO_HASHES

    def to_table(self) -> pa.Table:
        """One row of `TALLY_SCHEMA`."""
        cells = [[cell] for cell in self]
        return pa.table(
            [pa.array(c, f.type) for c, f in zip(cells, TALLY_SCHEMA, strict=True)],
            schema=TALLY_SCHEMA,
        )


def tally_of(table: pa.Table) -> Tally:
    """The tally in one row of `TALLY_SCHEMA`."""
    row = {name: table[name][0] for name in table.column_names}
    return Tally(
        row["rows"].as_py(),
        row["oov_rows"].as_py(),
        np.asarray(row["tokens"].values, np.int64),
        np.asarray(row["counts"].values, np.int64),
        row["codes"].as_py(),
        np.asarray(row["grouped"].values, np.int64),
        np.asarray(row["hashes"].values, np.uint64),
    )


def tally(feature: Feature, chunks: Iterable[pa.Array]) -> Tally:
    """Count the tokens of a column.

    Args:
        feature: the feature whose tokens these are.
        chunks: the column, a chunk at a time.
    """
    if isinstance(feature, EmbeddingFeature):
        return _tally_codes(feature, chunks)
    buckets = feature.oov_buckets if isinstance(feature, CategoricalFeature) else 0
    rows = oov_rows = 0
    totals = _NONE
    for chunk in chunks:
        lists = pa.types.is_list(chunk.type)
        tokens = (chunk.flatten() if lists else chunk).to_numpy(zero_copy_only=False)
        found = np.bincount(tokens, minlength=len(totals))
        found[: len(totals)] += totals
        totals = found
        rows += len(chunk)
        if buckets:
            outside = (tokens >= FIRST_FREE) & (tokens < FIRST_FREE + buckets)
            oov_rows += _rows_with(chunk, outside) if lists else int(outside.sum())
    (tokens,) = np.nonzero(totals)
    return Tally(rows, oov_rows, tokens, totals[tokens])


def _rows_with(lists: pa.ListArray, chosen: npt.NDArray[np.bool_]) -> int:
    """Number of lists with at least one chosen element."""
    offsets = lists.offsets.to_numpy()
    before = np.concatenate([[0], np.cumsum(chosen)])[offsets - offsets[0]]
    return int((np.diff(before) > 0).sum())


def count_shape(feature: EmbeddingFeature) -> tuple[int, int]:
    """The shape of an embedding's counts: dimensions and their bins [D, q], or without bins tokens and their codes [Z, C]."""
    if isinstance(feature, QuantileEmbedding):
        return feature.width, feature.quantiles
    return feature.token_count, feature.code_count


def _tally_codes(feature: EmbeddingFeature, chunks: Iterable[pa.Array]) -> Tally:
    rows = missing = 0
    hashes = NO_HASHES
    counts_ZC = np.zeros((feature.token_count, feature.code_count), dtype=np.int64)
    for chunk in chunks:
        tokens_NZ = chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(counts_ZC))
        tokens_ZN = np.ascontiguousarray(tokens_NZ.T)
        rows += len(chunk)
        missing += int((tokens_ZN[0] == MISSING).sum())
        hashes = smallest(hashes, row_hashes(tokens_NZ[tokens_ZN[0] != MISSING]))
        for counts_C, tokens_N in zip(counts_ZC, tokens_ZN, strict=True):
            counts_C += np.bincount(tokens_N, minlength=FIRST_FREE + len(counts_C))[FIRST_FREE:]
    table = counts_ZC
    if isinstance(feature, QuantileEmbedding):
        table = _by_dimension(feature, counts_ZC)
    counts = np.concatenate([[missing], table.reshape(-1)])
    codes = np.packbits(counts_ZC > 0, axis=1).tobytes()
    grouped = counts_ZC.reshape(-1) if counts_ZC.size <= MOST_GROUPED else _NONE
    return Tally(rows, 0, _NONE, counts, codes, grouped, hashes)


def _by_dimension(feature: QuantileEmbedding, counts_ZC: Numbers) -> Numbers:
    """Number of each bin of each dimension, from the codes: [D, q]."""
    width, quantiles = feature.group_width, feature.quantiles
    bins_ZMQ = np.empty((len(counts_ZC), width, quantiles), dtype=np.int64)
    for j in range(width):
        # code = sum of bin_j * q**j: the third axis is the bin of dimension j
        by_bin = counts_ZC.reshape(len(counts_ZC), -1, quantiles, quantiles**j)
        bins_ZMQ[:, j] = by_bin.sum(axis=(1, 3))
    return bins_ZMQ.reshape(-1, quantiles)


class Total(NamedTuple):
    """The tokens of a feature in a whole generation.

    Attributes:
        rows: number of rows.
        missing_rows: number of rows whose token is missing.
        oov_rows: as in `Tally`.
        counts: number of each token [largest token + 1]; of an embedding as in `Tally`.
        codes: of an embedding: mean number of distinct codes per token.
        grouped: as in `Tally`.
        hashes: as in `Tally`.
    """

    rows: int
    missing_rows: int
    oov_rows: int
    counts: Numbers
    codes: float | None
    grouped: Numbers = _NONE
    hashes: Hashes = NO_HASHES


def total(feature: Feature, tallies: Iterable[Tally]) -> Total:
    """Add up the tallies of a feature, one in memory at a time."""
    rows = oov_rows = 0
    counts = grouped = _NONE
    hashes = NO_HASHES
    seen: npt.NDArray[np.uint8] | None = None
    embedding = isinstance(feature, EmbeddingFeature)
    for part in tallies:
        rows += part.rows
        oov_rows += part.oov_rows
        at = np.arange(len(part.counts)) if embedding else part.tokens
        short = int(at[-1]) + 1 - len(counts) if len(at) else 0
        if short > 0:
            counts = np.concatenate([counts, np.zeros(short, dtype=np.int64)])
        counts[at] += part.counts
        if embedding:
            bits = np.frombuffer(part.codes, dtype=np.uint8)
            seen = bits.copy() if seen is None else seen | bits
            grouped = grouped + part.grouped if len(grouped) else part.grouped
            hashes = smallest(hashes, part.hashes)
    if not isinstance(feature, EmbeddingFeature):
        missing = int(counts[MISSING]) if len(counts) > MISSING else 0
        return Total(rows, missing, oov_rows, counts, None)
    if seen is None:
        counts, seen = (
            np.zeros(1 + math.prod(count_shape(feature)), np.int64),
            np.zeros(0, np.uint8),
        )
    codes = int(np.unpackbits(seen).sum(dtype=np.int64)) / feature.token_count
    return Total(rows, int(counts[0]), 0, counts, codes, grouped, hashes)
