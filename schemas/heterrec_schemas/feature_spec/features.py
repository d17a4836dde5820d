"""The kinds of features: a kind is a module of this package and a name in the union here."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from heterrec_schemas.feature_spec.base import BaseFeature
from heterrec_schemas.feature_spec.categorical import CategoricalFeature
from heterrec_schemas.feature_spec.codebooks import ProductEmbedding, ResidualEmbedding
from heterrec_schemas.feature_spec.embedding import QuantileEmbedding
from heterrec_schemas.feature_spec.numeric import NumericFeature


def quantizer(feature: Any) -> Any:
    """The quantizer of an embedding feature, given as plain data or as an object; its name is part of error messages."""
    if isinstance(feature, dict):
        return feature.get("quantizer", "quantile")
    return getattr(feature, "quantizer", None)


_Embedding = Annotated[
    Annotated[QuantileEmbedding, Tag("quantile")]
    | Annotated[ProductEmbedding, Tag("pq")]
    | Annotated[ResidualEmbedding, Tag("rq")],
    Discriminator(quantizer),
]
Feature = Annotated[
    CategoricalFeature | NumericFeature | _Embedding,
    Field(discriminator="kind"),
]
TAGGED: dict[str, type[BaseFeature]] = {
    "categorical": CategoricalFeature,
    "numeric": NumericFeature,
    "embedding": QuantileEmbedding,  # the default
    "quantile": QuantileEmbedding,
    "pq": ProductEmbedding,
    "rq": ResidualEmbedding,
}
"""Kinds and quantizers to classes."""
