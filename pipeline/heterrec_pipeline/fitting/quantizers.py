"""Fit embedding quantizers without a shuffle of vectors: the fit of each block of dimensions reads the vectors itself.

Edges of a dimension depend on no other one, nor do centroids of a group (pq); those of levels (rq) need whole vectors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.cells import all_missing
from heterrec_pipeline.features.fitted import Fitted, load_reduction
from heterrec_pipeline.files.parts import store
from heterrec_pipeline.fitting.sample import SLACK, BlockSample, VectorSample
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
from heterrec_schemas.reductions import (
    SUFFIX,
    Reduction,
    fit_reduction,
    reduce_vectors,
    reduction_table,
    sample_limit,
)

BLOCK_BYTES = 256 * 2**20
PASS_BLOCKS = 2
"""Number of blocks filled by one reading of the vectors, which costs as much as all the rest of a fit."""
PRODUCT_BLOCKS = 4
"""Minimum number of blocks of a product quantizer, each with a reading of its own: k-means takes longer than the reading,
so several workers share it."""

SAMPLED = "sampled"
"""Tag of a sample of whole vectors."""

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
    parts: str,
    together: Pass,
    splits: Iterable[Split],
    population: int,
    excluded: ExcludedRows,
    reductions: Mapping[str, Fitted] = MappingProxyType({}),
) -> Iterator[tuple[str, pa.Table] | TaggedOutput]:
    """Fit the blocks of one reading: (feature, table of the first dimension and the edges or centroids) per block.

    The first reading of a feature also tags, as `SAMPLED`, (feature, reference to the table of a `VectorSample` in `parts`).
    """
    name = together[0][0]
    feature = embedding_of(table, name)
    books = isinstance(feature, CodebookEmbedding)
    samples = [
        BlockSample(b - a, population, feature.fit_sample, ordered=books) for _, a, b in together
    ]
    placed = [(a, b, sample) for (_, a, b), sample in zip(together, samples, strict=True)]
    whole = VectorSample(feature.dim, population) if together[0][1] == 0 else None
    _fill(table, feature, splits, excluded, placed, load_reduction(feature, reductions), whole)
    if whole is not None:
        stored = store(parts, f"sample-{table.side}-{name}", whole.table())
        yield TaggedOutput(SAMPLED, (name, stored))
    for a, _, sample in placed:
        fitted = fit_block(feature, sample)
        yield name, fitted.add_column(0, "first", pa.array([a] * len(fitted), pa.int32()))


def embedding_of(table: TableJob, name: str) -> EmbeddingFeature:
    """The embedding feature of a table with this name."""
    return next(f for f in table.embeddings if f.name == name)


def _fill(
    table: TableJob,
    feature: EmbeddingFeature,
    splits: Iterable[Split],
    excluded: ExcludedRows,
    samples: Sequence[tuple[int, int, BlockSample]],
    reduction: Reduction | None,
    whole: VectorSample | None = None,
) -> None:
    """Read the vectors of a feature once, and add their dimensions `a` to `b - 1` to the sample of each (a, b, sample).

    The vectors themselves go to `whole`.
    """
    bad = 0
    for split in sorted(splits, key=lambda s: s.place):
        for rows in kept_rows(table, split, [feature.column], excluded):
            at, values, cells = embedding.vectors(feature, rows[feature.column])
            texts = pl.Series(rows[KEY]).gather(at)
            for a, b, sample in samples:
                sample.add(_dimensions(values, a, b, reduction), texts)
            if whole is not None:
                whole.add(values, texts)
            bad += len(cells)
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
