"""Measure what the tokens of an embedding keep of its vectors, once it is fitted."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.fitted import Fitted, load_reduction
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.fitting.quantizers import BlockSample, embedding_of, read_vectors
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.row_filter import ExcludedRows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.statistics.distinct import NO_HASHES, distinct_rows, row_hashes, smallest
from heterrec_pipeline.statistics.neighbours import (
    NEAREST,
    QUERIES,
    VECTORS,
    Vectors,
    chance,
    kept,
    nearest,
)
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.reductions import reduce_vectors


def judge_tokens(
    table: TableJob,
    name: str,
    splits: Iterable[Split],
    population: int,
    excluded: ExcludedRows,
    fitted: Mapping[str, Fitted],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the vectors of a feature: (`<side>/<feature>`, {vectors, distinct, exact, and of a sample: neighbours}).

    `neighbours` has `among` (distinct vectors of the sample), `kept` and `chance`; None if there are not enough.
    """
    feature = embedding_of(table, name)
    sample = BlockSample(feature.dim, population, VECTORS, ordered=True)
    vectors, hashes = 0, NO_HASHES
    for values, keys, _ in read_vectors(table, feature, splits, excluded):
        sample.add(values, keys)
        hashes = smallest(hashes, row_hashes(values + np.float32(0.0)))
        vectors += len(values)
    found = {"vectors": vectors, **distinct_rows(hashes)}
    different_ND = np.unique(sample.ordered(), axis=0)
    # In a random order: queries are the first ones.
    different_ND = different_ND[np.argsort(row_hashes(different_ND), kind="stable")]
    found["neighbours"] = _neighbours(feature, different_ND, fitted)
    yield f"{table.side}/{name}", found


def _neighbours(
    feature: EmbeddingFeature, vectors_ND: Vectors, fitted: Mapping[str, Fitted]
) -> dict[str, Any] | None:
    """The share of the nearest neighbours that the tokens keep, beside that of chance."""
    if len(vectors_ND) < 2 * NEAREST:
        return None
    reduction = load_reduction(feature, fitted)
    reduced_ND = vectors_ND if reduction is None else reduce_vectors(vectors_ND, reduction)
    tokens_NZ = embedding.vector_tokens(feature, reduced_ND, load(fitted[feature.name].table))
    return {
        "queries": min(QUERIES, len(vectors_ND)),
        "among": len(vectors_ND),
        "kept": round(kept(tokens_NZ, nearest(vectors_ND)), 4),
        "chance": round(chance(len(vectors_ND)), 4),
    }
