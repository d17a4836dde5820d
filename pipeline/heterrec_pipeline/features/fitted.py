"""Fitted features: the reference to what was fitted, its size, and its manifest entry."""

from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.job import TableJob
from heterrec_schemas.feature_spec import CategoricalFeature, Feature
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import ITEM_VOCABULARY


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
    return feature.entry(side, size, missing, oov)


def fitted_size(feature: Feature, fitted: pa.Table) -> int:
    """The `size` of `Fitted`."""
    if isinstance(feature, CategoricalFeature):
        return int(pl.Series(fitted["id"]).max() or -1) + 1  # type: ignore[arg-type]
    return len(fitted)


def missing_token(feature: Feature) -> pa.Array:
    """One item's tokens of a feature that is missing."""
    return pa.array([feature.missing_tokens], feature.token_type)


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
    stem = feature.name if table.side == "item" else f"user_{feature.name}"
    return stem, entry.details()
