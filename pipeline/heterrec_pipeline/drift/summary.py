"""What `statistics.json` has of a feature, from the tallies of its shards."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.drift.measure import PRESENT
from heterrec_pipeline.drift.tally import Numbers, Total, tally_of, total
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import Job
from heterrec_pipeline.statistics.distinct import distinct_rows
from heterrec_schemas.drift import ValueDrift
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, Feature
from heterrec_schemas.tokens import FIRST_FREE

TOP_VALUES = 30


def summarise_feature(
    job: Job, element: tuple[str, Iterable[TableRef | ValueDrift | None]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All measurements of a feature to (`<side>/<feature>`, its statistics)."""
    name, pieces = element
    feature = features_of(job.spec)[name]
    tallies = [p for p in pieces if isinstance(p, TableRef) and p.table == PRESENT]
    yield name, summary(feature, total(feature, (tally_of(load(t)) for t in tallies)))


def summary(feature: Feature, found: Total) -> dict[str, Any]:
    """The tokens of a feature in a generation.

    Returns:
        Of an embedding: `codes`, the number of codes a token can have; `used` and `entropy_bits` by token (the latter not of
        quantizers with more than 2**20 codes in all); `rows`, how many distinct rows of tokens there are. Of a numeric
        feature: `tokens`, the number of values per bin. Of a categorical feature: `tokens`, the number of all values; `top`,
        pairs (id, count) of the 30 most frequent values; `ids`, how many occur.
    """
    if isinstance(feature, EmbeddingFeature):
        return _of_embedding(feature, found)
    counts = found.counts[FIRST_FREE:]
    if not isinstance(feature, CategoricalFeature):
        return {"tokens": counts.tolist()}
    (seen,) = np.nonzero(counts)
    seen = seen[seen >= feature.oov_buckets]
    most = seen[np.lexsort((seen, -counts[seen]))[:TOP_VALUES]]
    top = [[int(i) + FIRST_FREE, int(counts[i])] for i in most]
    return {"tokens": int(counts.sum()), "ids": len(seen), "top": top}


def _of_embedding(feature: EmbeddingFeature, found: Total) -> dict[str, Any]:
    tokens, codes = feature.token_count, feature.code_count
    body: dict[str, Any] = {"codes": codes, "rows": distinct_rows(found.hashes)}
    if len(found.grouped):
        grouped_ZC = found.grouped.reshape(tokens, codes)
        body["used"] = (grouped_ZC > 0).sum(axis=1).tolist()
        body["entropy_bits"] = [_entropy(counts_C) for counts_C in grouped_ZC]
    return body


def _entropy(counts_C: Numbers) -> float:
    """Of the shares of some counts, in bits, rounded to 3 places."""
    shares = counts_C[counts_C > 0] / max(1, counts_C.sum())
    return round(abs(float(-(shares * np.log2(shares)).sum())), 3)
