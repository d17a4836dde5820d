"""Measure what the tokens of an embedding keep of its vectors, once it is fitted."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.fitted import Fitted, load_reduction
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.fitting.quantizers import embedding_of
from heterrec_pipeline.fitting.sample import FOUND
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.statistics.neighbours import (
    NEAREST,
    QUERIES,
    Vectors,
    chance,
    kept,
    nearest,
)
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.reductions import reduce_vectors


def judge_tokens(
    table: TableJob, element: tuple[str, TableRef], fitted: Mapping[str, Fitted]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A feature and its `VectorSample` to (`<side>/<feature>`, {vectors, distinct, exact, and of the sample: neighbours}).

    `neighbours` has `among` (distinct vectors of the sample), `kept` and `chance`; None if there are not enough.
    """
    name, reference = element
    sample, feature = load(reference), embedding_of(table, name)
    cells = sample["vector"].combine_chunks().flatten()
    vectors_ND = cells.to_numpy(zero_copy_only=False).reshape(-1, feature.dim)
    found: dict[str, Any] = json.loads(sample.schema.metadata[FOUND])
    found["neighbours"] = _neighbours(feature, vectors_ND, fitted)
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
