"""The feature kinds: each is a module of this package and one line of `KINDS`."""

from typing import Any, Protocol, runtime_checkable

import polars as pl
import pyarrow as pa

from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import EncodedColumn, ParsedColumn
from heterrec_schemas.feature_spec import Feature


class FeatureKind(Protocol):
    """The functions of a module that implements a kind."""

    FOLDER: str
    """Folder of the generation that holds the fitted tables."""

    def parse(self, feature: Any, column: pa.Array) -> ParsedColumn:
        """The values of n raw cells."""

    def encode(self, feature: Any, values: pa.Array, fitted: Any) -> EncodedColumn:
        """The tokens of n parsed cells. `fitted` is the fitted table, a `Quantizer`, or `Lookup.find` of a vocabulary."""


@runtime_checkable
class ValueKind(FeatureKind, Protocol):
    """A kind that is fitted from partial fits of batches: counts of values (a vocabulary), or samples."""

    def collect(self, feature: Any, values: pa.Array, keys: pl.Series, population: int) -> pa.Table:
        """The partial fit of a batch.

        Args:
            feature: the feature.
            values: n parsed cells.
            keys: n keys of items or users.
            population: number of items or users in total.
        """

    def merge(self, feature: Any, parts: list[pa.Table]) -> pa.Table:
        """Merge partial fits."""


@runtime_checkable
class SampledKind(ValueKind, Protocol):
    """A kind that is fitted from a sample of its values."""

    def fit(self, feature: Any, parts: list[pa.Table], where: str) -> pa.Table:
        """The fitted table, from all partial fits; `where` names the source in errors."""


KINDS: dict[str, FeatureKind] = {
    "categorical": categorical,
    "numeric": numeric,
    "embedding": embedding,
}


def kind_of(feature: Feature) -> FeatureKind:
    """The module of a feature's kind."""
    return KINDS[feature.kind]


def value_kind(feature: Feature) -> ValueKind:
    """The module of a feature that is fitted from values."""
    kind = KINDS[feature.kind]
    assert isinstance(kind, ValueKind), feature.kind
    return kind
