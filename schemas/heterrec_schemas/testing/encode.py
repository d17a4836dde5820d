"""Encode a shop's features plainly, a value at a time: the other way to what the pipeline does."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    NumericFeature,
)
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tables import (
    BOUNDARIES_SCHEMA,
    QUANTIZERS_SCHEMA,
    vocabulary_schema,
    with_metadata,
)
from heterrec_schemas.tokens import (
    FIRST_FREE,
    MISSING,
    embedding_tokens,
    number_vocabulary,
    numeric_edges,
    numeric_tokens,
    oov_ids,
    quantizer_edges,
    vocabulary_shards,
)
from heterrec_schemas.values import value_text

NESTED = " > "


@dataclass(frozen=True)
class Encoded:
    """What one feature became.

    Attributes:
        entry: the manifest's line.
        tokens: a cell a row: an integer, or a list of integers.
        absent: the cell of an item or user without a row.
        files: tables by their folder and stem, such as `vocabularies/brand`; a vocabulary's
            shards are a list of tables.
    """

    entry: FeatureEntry
    tokens: list[Any]
    absent: Any
    files: dict[str, pa.Table | list[pa.Table]]


def encode(feature: Feature, cells: Sequence[Any], *, side: str, integral: bool) -> Encoded:
    """Encode one feature of all items or users.

    Args:
        feature: of the shop's spec.
        cells: the raw cell of every row.
        side: `item` or `user`.
        integral: whether the source column holds integers.
    """
    stem = feature.name if side == "item" else f"user_{feature.name}"
    base = {"name": feature.name, "kind": feature.kind, "side": side}
    if isinstance(feature, CategoricalFeature):
        return _categorical(feature, cells, base, stem, integral)
    if isinstance(feature, NumericFeature):
        return _numeric(feature, cells, base, stem)
    return _embedding(feature, cells, base, stem)


def vocabulary_tables(
    numbered: pl.DataFrame, *, shards: int, integral: bool, **details: object
) -> list[pa.Table]:
    """The shards of a vocabulary out of `number_vocabulary`'s frame.

    Args:
        numbered: columns id, value, count, shard.
        shards: V; a shard may be empty.
        integral: whether values are stored as integers.
        details: what the metadata says of the vocabulary.
    """
    schema = vocabulary_schema(integral, vocabulary_shards=shards, **details)
    tables = []
    for shard in range(shards):
        part = numbered.filter(pl.col("shard") == shard)
        values = [int(v) for v in part["value"]] if integral else part["value"].to_list()
        rows = [part["id"].to_list(), values, part["count"].to_list(), ["active"] * len(part)]
        tables.append(pa.table(rows, schema=schema))
    return tables


def _details(stem: str, entry: FeatureEntry) -> dict[str, object]:
    """What the metadata of a feature's own tables says."""
    named = {"kind", "side", "vocabulary_size", "groups", "quantiles", "bins"}
    return {"feature": stem, **entry.model_dump(include=named, exclude_none=True)}


def _categorical(
    feature: CategoricalFeature, cells: Sequence[Any], base: dict[str, Any], stem: str, whole: bool
) -> Encoded:
    texts = [_texts(feature, cell) for cell in cells]
    counts = Counter(text for row in texts for text in set(row))
    numbered = number_vocabulary(
        pl.DataFrame(
            {"value": list(counts), "count": list(counts.values())},
            schema={"value": pl.String, "count": pl.Int64},
        ),
        integral=whole,
        oov_buckets=feature.oov_buckets,
        shards=feature.shards,
        min_count=feature.min_count,
        max_size=feature.max_size,
    )
    ids = dict(zip(numbered["value"], numbered["id"], strict=True))
    outside = [text for text in counts if text not in ids]
    hashed = oov_ids(pl.Series(outside, dtype=pl.String), feature.oov_buckets)
    known = ids | dict(zip(outside, hashed, strict=True))
    lists = [[known[text] for text in row] for row in texts]
    if feature.multivalued:
        kept = [list(dict.fromkeys(t for t in row if t != MISSING)) for row in lists]
        tokens: list[Any] = [row[: feature.max_values] or [MISSING] for row in kept]
        absent: Any = [MISSING]
    else:
        tokens, absent = [row[0] if row else MISSING for row in lists], MISSING
    entry = FeatureEntry(
        **base,
        multivalued=feature.multivalued,
        vocabulary_size=FIRST_FREE + feature.oov_buckets + len(numbered),
        missing=sum(token == absent for token in tokens),
        oov=sum(any(text not in ids for text in row) for row in texts),
    )
    tables = vocabulary_tables(
        numbered,
        shards=vocabulary_shards(len(numbered), feature.shards),
        integral=whole,
        oov_buckets=feature.oov_buckets,
        **_details(stem, entry),
    )
    return Encoded(entry, tokens, absent, {f"vocabularies/{stem}": tables})


def _texts(feature: CategoricalFeature, cell: Any) -> list[str]:
    """The cleaned values of one cell; a list of paths becomes all their prefixes."""
    if not isinstance(cell, list):
        values = [value_text(cell)]
    else:
        assert feature.nested == "prefixes", "the shop's spec has no other lists"
        paths = [[text for node in path if (text := value_text(node))] for path in cell]
        values = [NESTED.join(path[: n + 1]) for path in paths for n in range(len(path))]
    return [v for v in values if v is not None and v not in feature.missing_values]


def _numeric(
    feature: NumericFeature, cells: Sequence[Any], base: dict[str, Any], stem: str
) -> Encoded:
    values = np.array([math.nan if cell is None else float(cell) for cell in cells])
    assert feature.bins is not None, "the shop's spec gives no boundaries"
    edges = numeric_edges(values[np.isfinite(values)], feature.bins)
    tokens = numeric_tokens(values, edges)
    entry = FeatureEntry(
        **base,
        vocabulary_size=FIRST_FREE + len(edges) + 1,
        bins=len(edges) + 1,
        boundary_version=1,
        missing=int((tokens == MISSING).sum()),
        oov=0,
    )
    schema = with_metadata(BOUNDARIES_SCHEMA, "boundaries", **_details(stem, entry))
    table = pa.table([pa.array(edges)], schema=schema)
    return Encoded(entry, tokens.tolist(), MISSING, {f"boundaries/{stem}": table})


def _embedding(
    feature: EmbeddingFeature, cells: Sequence[Any], base: dict[str, Any], stem: str
) -> Encoded:
    present = [n for n, cell in enumerate(cells) if cell is not None]
    # -0.0 + 0.0 is +0.0, as the contract reads it.
    vectors = np.array([cells[n] for n in present], np.float32) + np.float32(0)
    edges = quantizer_edges(np.ascontiguousarray(vectors.T), feature.quantiles)
    absent = [MISSING] * feature.groups
    tokens = [absent] * len(cells)
    for n, row in zip(present, embedding_tokens(vectors, edges, feature.groups), strict=True):
        tokens[n] = row.tolist()
    entry = FeatureEntry(
        **base,
        vocabulary_size=FIRST_FREE + feature.codes,
        groups=feature.groups,
        quantiles=feature.quantiles,
        boundary_version=1,
        missing=len(cells) - len(present),
        oov=0,
    )
    dims = np.indices(edges.shape, dtype=np.int32)
    schema = with_metadata(QUANTIZERS_SCHEMA, "quantizers", **_details(stem, entry))
    arrays = [pa.array(dims[1].ravel()), pa.array(dims[0].ravel()), pa.array(edges.ravel())]
    return Encoded(entry, tokens, absent, {f"quantizers/{stem}": pa.table(arrays, schema=schema)})
