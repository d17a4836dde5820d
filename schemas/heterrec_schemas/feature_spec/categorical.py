"""Categorical features."""

from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.base import (
    MAX_BUCKETS,
    MAX_SHARDS,
    BaseFeature,
    CleanText,
    SpecModel,
)
from heterrec_schemas.tokens import FIRST_FREE, MISSING


class VocabularyFile(SpecModel):
    """The vocabulary of another system: its values take the first ids, in the order of the file."""

    path: str = Field(min_length=1, description="a file, relative to the input folder")
    format: Literal["tensorflow_transform", "nvtabular"] = Field(
        description="tensorflow_transform: one value per line; nvtabular: unique.COLUMN.parquet of Categorify"
    )


class CategoricalFeature(BaseFeature):
    """Ids of a vocabulary: one id per item, or a list of ids if multivalued."""

    kind: Literal["categorical"]
    missing_values: list[CleanText] = Field(default=[])
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)
    oov_buckets: int = Field(default=0, ge=0, le=MAX_BUCKETS)
    multivalued: bool = False
    nested: Literal["leaf", "nodes", "prefixes"] | None = None
    separator: str | None = Field(default=None, min_length=1)
    max_values: int | None = Field(default=None, ge=1)
    shards: int | None = Field(default=None, ge=1, le=MAX_SHARDS)
    vocabulary: VocabularyFile | None = Field(
        default=None, description="the vocabulary of another system, whose values keep their order"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.multivalued:
            for name in ("nested", "separator", "max_values"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs multivalued: true")
        self._refuse_averages()
        return self

    @property
    def token_type(self) -> pa.DataType:
        """int32, or a list of int32 if multivalued."""
        return pa.list_(pa.int32()) if self.multivalued else pa.int32()

    @property
    def missing_tokens(self) -> int | list[int]:
        """One missing token."""
        return [MISSING] if self.multivalued else MISSING

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """The size of the vocabulary."""
        top = max(FIRST_FREE + self.oov_buckets, size)
        return {"vocabulary_size": top, "multivalued": self.multivalued}
