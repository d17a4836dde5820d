"""Fitted features: reference to the fitted table, number of ids, metadata of its files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import TableJob
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature
from heterrec_schemas.reductions import SUFFIX, Reduction, reduction_of
from heterrec_schemas.tokens import ITEM_VOCABULARY, feature_stem


class Fitted(NamedTuple):
    """A fitted feature.

    Attributes:
        table: the boundaries or the quantizer, usually by reference; None for a vocabulary, whose ids are stored by bucket.
        size: the largest id + 1 of a vocabulary (0 if it is empty), else the number of rows of the table.
    """

    table: pa.Table | TableRef | None
    size: int


def load_reduction(feature: EmbeddingFeature, fitted: Mapping[str, Fitted]) -> Reduction | None:
    """The reduction of a feature among the fitted ones; None if it has none."""
    if feature.reduce is None:
        return None
    return reduction_of(load(fitted[feature.name + SUFFIX].table))


def fit_details(table: TableJob, feature: Feature | None, size: int) -> tuple[str, dict[str, Any]]:
    """The stem of a fit's files, and the metadata that describe it.

    Args:
        table: the feature's table.
        feature: the feature; None for the items' keys.
        size: see `Fitted`.
    """
    if feature is None:
        return ITEM_VOCABULARY, {"kind": "item"}
    stem = feature_stem(table.side, feature.name)
    return stem, feature.entry(table.side, size).details()
