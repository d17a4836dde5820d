"""Fitted features: the reference to what was fitted, its size, and its manifest entry."""

from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.job import TableJob
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    NumericFeature,
)
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tables import token_type
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY, MISSING


class Fitted(NamedTuple):
    """What a feature was fitted to: a table, as a rule by reference, and the number that says how many ids there are.

    Attributes:
        table: the vocabulary, the edges or the quantizer; None for a large vocabulary, which is looked up by bucket.
        size: the largest id + 1 of a vocabulary (0 when it is empty); of the others, the rows of the table.
    """

    table: pa.Table | TableRef | None
    size: int


def feature_entry(
    feature: Feature, side: str, size: int, missing: int = 0, oov: int = 0
) -> FeatureEntry:
    """What a fitted feature is, for the manifest and the shards' metadata; `size` is that of `Fitted`."""
    more: dict[str, Any] = {}
    if isinstance(feature, CategoricalFeature):
        top = max(FIRST_FREE + feature.oov_buckets, size)
        more = {"vocabulary_size": top, "multivalued": feature.multivalued}
    elif isinstance(feature, NumericFeature):
        bins = size + 1
        more = {"vocabulary_size": FIRST_FREE + bins, "bins": bins, "boundary_version": 1}
    elif isinstance(feature, EmbeddingFeature):
        more = {
            "vocabulary_size": FIRST_FREE + feature.codes,
            "groups": feature.groups,
            "quantiles": feature.quantiles,
            "boundary_version": 1,
        }
    return FeatureEntry.model_validate(
        {"name": feature.name, "kind": feature.kind, "side": side, "missing": missing, "oov": oov}
        | more
    )


def fitted_size(feature: Feature, fitted: pa.Table) -> int:
    """The `size` of `Fitted`."""
    if isinstance(feature, CategoricalFeature):
        return int(pl.Series(fitted["id"]).max() or -1) + 1  # type: ignore[arg-type]
    return len(fitted)


def missing_token(feature: Feature) -> pa.Array:
    """One item's tokens of a feature that is missing."""
    kind = token_type(feature)
    if isinstance(feature, EmbeddingFeature):
        return pa.array([[MISSING] * feature.groups], kind)
    if isinstance(feature, CategoricalFeature) and feature.multivalued:
        return pa.array([[MISSING]], kind)
    return pa.array([MISSING], kind)


def fit_details(table: TableJob, feature: Feature | None, size: int) -> tuple[str, dict[str, Any]]:
    """What the files of a fit are called, and what their metadata say of it.

    Args:
        table: whose it is.
        feature: the feature; None for the items' keys.
        size: that of `Fitted`.
    """
    if feature is None:
        return ITEM_VOCABULARY, {"kind": "item"}
    entry = feature_entry(feature, table.side, size)
    return feature.name if table.side == "item" else f"user_{feature.name}", entry.model_dump(
        include={"kind", "side", "vocabulary_size", "groups", "quantiles", "bins"},
        exclude_none=True,
    )
