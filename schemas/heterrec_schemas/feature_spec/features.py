"""The kinds of features: a kind is a module of this package and a name in the union here."""

from typing import Annotated, get_args

from pydantic import Field

from heterrec_schemas.feature_spec.base import BaseFeature
from heterrec_schemas.feature_spec.categorical import CategoricalFeature
from heterrec_schemas.feature_spec.embedding import EmbeddingFeature
from heterrec_schemas.feature_spec.numeric import NumericFeature

_Kinds = CategoricalFeature | NumericFeature | EmbeddingFeature
Feature = Annotated[_Kinds, Field(discriminator="kind")]
FEATURES: dict[str, type[BaseFeature]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(_Kinds)
}
"""Kind to class."""
