"""Fit embedding quantizers without a shuffle of vectors: the fit of each block of dimensions reads the vectors itself.

Edges of a dimension depend on no other one, nor do centroids of a group (pq); those of levels (rq) need whole vectors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.cells import all_missing
from heterrec_pipeline.features.fitted import Fitted, load_reduction
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.keys.row_filter import ExcludedRows, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_schemas.codebooks import books_of, codebook_table, fit_product, fit_residual
from heterrec_schemas.feature_spec import (
    CodebookEmbedding,
    EmbeddingFeature,
    ProductEmbedding,
    QuantileEmbedding,
    ResidualEmbedding,
)
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.reductions import (
    SUFFIX,
    Reduction,
    fit_reduction,
    reduce_vectors,
    reduction_table,
    sample_limit,
)
from heterrec_schemas.tokens import quantizer_edges

BLOCK_BYTES = 256 * 2**20
PASS_BLOCKS = 2
"""Number of blocks filled by one reading of the vectors, which costs as much as all the rest of a fit."""
PRODUCT_BLOCKS = 4
"""Minimum number of blocks of a product quantizer, each with a reading of its own: k-means takes longer than the reading,
so several workers share it."""
SLACK = 1.25
"""Factor by which a sample may exceed its size before it is cut back."""

Block = tuple[str, int, int]
Pass = tuple[Block, ...]


def blocks(feature: EmbeddingFeature, population: int) -> Iterator[Block]:
    """Cut a feature's dimensions so that no block holds more than 256 MB: (feature, first, last + 1).

    A block has whole codebooks, if the feature has some: it is never narrower than one.
    """
    rows = population if population <= feature.fit_sample else int(feature.fit_sample * SLACK)
    unit = feature.book_width if isinstance(feature, CodebookEmbedding) else 1
    units = feature.width // unit
    widest = max(1, BLOCK_BYTES // (4 * unit * max(rows, 1)))
    count = -(-units // widest)
    if isinstance(feature, ProductEmbedding):
        count = max(count, min(units, PRODUCT_BLOCKS))
    for k in range(count):
        yield feature.name, k * units // count * unit, (k + 1) * units // count * unit


def passes(feature: EmbeddingFeature, population: int) -> Iterator[Pass]:
    """Group a feature's blocks by the reading that fills them."""
    every = list(blocks(feature, population))
    together = 1 if isinstance(feature, CodebookEmbedding) else PASS_BLOCKS
    for start in range(0, len(every), together):
        yield tuple(every[start : start + together])


def plan_passes(table: TableJob, name: str, population: int) -> Iterator[Pass]:
    """A feature to readings: the blocks of dimensions of each."""
    yield from passes(embedding_of(table, name), population)


class BlockSample:
    """The vectors of a block of dimensions; where there are too many, those with the smallest (hash, key).

    Shapes: W dimensions of the block, N vectors.
    """

    def __init__(self, width: int, population: int, limit: int, *, ordered: bool = False) -> None:
        """Allocate room for the population, or for a sample of `limit` with some slack; `ordered` keeps the keys too."""
        self.limited = population > limit
        self.keyed = self.limited or ordered
        self.limit = limit
        room = int(limit * SLACK) + 1 if self.limited else population
        self.values_WN = np.empty((width, room), dtype=np.float32)
        self.hashes = np.empty(room if self.keyed else 0, dtype=np.uint64)
        self.keys: list[pl.Series] = []
        self.bound: np.uint64 | None = None
        """The largest hash of a full sample; vectors with a larger one are none of it."""
        self.count = 0

    def add(self, values_NW: npt.NDArray[np.float32], keys: pl.Series) -> None:
        """Add vectors with their keys."""
        room = self.values_WN.shape[1]
        hashes = hash_texts(keys).to_numpy() if self.keyed else None
        if self.bound is not None and hashes is not None:
            near = np.flatnonzero(hashes <= self.bound)
            values_NW, hashes, keys = values_NW[near], hashes[near], keys.gather(near)
        start = 0
        while start < len(values_NW):
            stop = min(len(values_NW), start + room - self.count)
            piece = values_NW[start:stop]
            self.values_WN[:, self.count : self.count + len(piece)] = piece.T
            if hashes is not None:
                self.hashes[self.count : self.count + len(piece)] = hashes[start:stop]
                self.keys.append(keys.slice(start, len(piece)))
            self.count += len(piece)
            start = stop
            if self.limited and self.count == room:
                self.cut()

    def cut(self) -> None:
        """Keep only the smallest (hash, key)."""
        if not self.limited or self.count <= self.limit:
            return
        keys = pl.concat(self.keys)
        order = pl.DataFrame({"hash": self.hashes[: self.count], "key": keys})
        best = order.with_row_index("at").sort("hash", "key").head(self.limit)["at"].sort()
        at = best.to_numpy()
        for row in self.values_WN:
            row[: len(at)] = row[at]
        self.hashes[: len(at)] = self.hashes[at]
        self.keys = [keys.gather(best)]
        self.count = len(at)
        self.bound = self.hashes[: self.count].max()

    def vectors(self) -> npt.NDArray[np.float32]:
        """The vectors in no particular order: [N, W]."""
        self.cut()
        values_NW: npt.NDArray[np.float32] = self.values_WN[:, : self.count].T
        return values_NW

    def ordered(self) -> npt.NDArray[np.float32]:
        """The vectors in the order of (hash, key), without -0.0: [N, W]."""
        self.cut()
        order = pl.DataFrame({"hash": self.hashes[: self.count], "key": pl.concat(self.keys)})
        at = order.with_row_index("at").sort("hash", "key")["at"].to_numpy()
        values_NW: npt.NDArray[np.float32] = self.values_WN.T[at]
        values_NW += np.float32(0.0)  # -0.0 becomes +0.0
        return values_NW

    def edges(self, quantiles: int) -> npt.NDArray[np.float32]:
        """The quantile edges of the block: [q - 1, W]."""
        self.cut()
        whole = self.count == self.values_WN.shape[1]
        values = self.values_WN if whole else np.ascontiguousarray(self.values_WN[:, : self.count])
        values += np.float32(0.0)  # -0.0 becomes +0.0
        return quantizer_edges(values, quantiles)


def reduce_embedding(
    table: TableJob,
    name: str,
    splits: Iterable[Split],
    population: int,
    excluded: ExcludedRows,
) -> Iterator[tuple[str, pa.Table]]:
    """Fit the reduction of a feature that has one: (feature and `SUFFIX`, its table)."""
    feature = embedding_of(table, name)
    assert feature.reduce is not None
    limit = min(feature.fit_sample, sample_limit(feature.dim))
    sample = BlockSample(feature.dim, population, limit)
    _fill(table, feature, splits, excluded, [(0, feature.dim, sample)], None)
    fitted = fit_reduction(sample.vectors(), feature.reduce.pca, rotate=feature.reduce.rotate)
    yield name + SUFFIX, reduction_table(fitted)


def fit_blocks(
    table: TableJob,
    together: Pass,
    splits: Iterable[Split],
    population: int,
    excluded: ExcludedRows,
    reductions: Mapping[str, Fitted] = MappingProxyType({}),
) -> Iterator[tuple[str, pa.Table]]:
    """Fit the blocks of one reading: (feature, table of the first dimension and the edges or centroids) per block."""
    name = together[0][0]
    feature = embedding_of(table, name)
    books = isinstance(feature, CodebookEmbedding)
    samples = [
        BlockSample(b - a, population, feature.fit_sample, ordered=books) for _, a, b in together
    ]
    placed = [(a, b, sample) for (_, a, b), sample in zip(together, samples, strict=True)]
    _fill(table, feature, splits, excluded, placed, load_reduction(feature, reductions))
    for a, _, sample in placed:
        fitted = fit_block(feature, sample)
        yield name, fitted.add_column(0, "first", pa.array([a] * len(fitted), pa.int32()))


def embedding_of(table: TableJob, name: str) -> EmbeddingFeature:
    """The embedding feature of a table with this name."""
    return next(f for f in table.embeddings if f.name == name)


def read_vectors(
    table: TableJob, feature: EmbeddingFeature, splits: Iterable[Split], excluded: ExcludedRows
) -> Iterator[tuple[npt.NDArray[np.float32], pl.Series, int]]:
    """The vectors of a feature by batch: (vectors [N, D], their rows' keys [N], number of bad cells)."""
    for split in sorted(splits, key=lambda s: s.place):
        for rows in kept_rows(table, split, [feature.column], excluded):
            at, values, cells = embedding.vectors(feature, rows[feature.column])
            yield values, pl.Series(rows[KEY]).gather(at), len(cells)


def _fill(
    table: TableJob,
    feature: EmbeddingFeature,
    splits: Iterable[Split],
    excluded: ExcludedRows,
    samples: Sequence[tuple[int, int, BlockSample]],
    reduction: Reduction | None,
) -> None:
    """Read the vectors of a feature once, and add their dimensions `a` to `b - 1` to the sample of each (a, b, sample)."""
    bad = 0
    for values, texts, wrong in read_vectors(table, feature, splits, excluded):
        for a, b, sample in samples:
            sample.add(_dimensions(values, a, b, reduction), texts)
        bad += wrong
    if samples[0][2].count == 0:
        detail = (
            f" or bad ({bad} bad vectors; expected {feature.dim} finite numbers)" if bad else ""
        )
        raise all_missing(feature.name, feature.column, table.name, detail)


def _dimensions(
    values_ND: npt.NDArray[np.float32], a: int, b: int, reduction: Reduction | None
) -> npt.NDArray[np.float32]:
    """Some dimensions of vectors, of the reduced ones if there is a reduction."""
    if reduction is None:
        return values_ND[:, a:b]
    return reduce_vectors(values_ND, reduction._replace(weights_DP=reduction.weights_DP[:, a:b]))


def fit_block(feature: EmbeddingFeature, sample: BlockSample) -> pa.Table:
    """The edges of a block of dimensions, or its codebooks, numbered from 0."""
    if isinstance(feature, QuantileEmbedding):
        return pa.table({"edge": sample.edges(feature.quantiles).ravel()})
    values_NW = sample.ordered()
    del sample.values_WN  # as large as the ordered ones
    if isinstance(feature, ProductEmbedding):
        groups = values_NW.shape[1] // feature.book_width
        return codebook_table(fit_product(values_NW, groups, feature.codes))
    assert isinstance(feature, ResidualEmbedding)
    return codebook_table(fit_residual(values_NW, feature.levels, feature.codes))


def join_blocks(
    table: TableJob, element: tuple[str, Iterable[pa.Table]]
) -> Iterator[tuple[str, pa.Table]]:
    """Join the edges or codebooks of a feature's blocks to its quantizer."""
    name, parts = element
    feature = embedding_of(table, name)
    ordered = sorted(parts, key=lambda t: int(t["first"][0].as_py()))
    if isinstance(feature, QuantileEmbedding):
        edges = [t["edge"].to_numpy().reshape(feature.quantiles - 1, -1) for t in ordered]
        yield name, embedding.quantizer_table(np.concatenate(edges, axis=1))
    else:
        yield name, codebook_table([book for t in ordered for book in books_of(t)])
