"""Numeric features."""

import itertools
import math
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.base import FIT_SAMPLE, MAX_CODES, BaseFeature, CleanText
from heterrec_schemas.tokens import FIRST_FREE, MISSING


class NumericFeature(BaseFeature):
    """Bins of a number: by quantiles, or by given boundaries."""

    kind: Literal["numeric"]
    missing_values: list[CleanText] = Field(default=[])
    bins: int | None = Field(default=None, ge=2, le=MAX_CODES)
    boundaries: list[Annotated[float, Field(strict=False)]] | None = Field(
        default=None, min_length=1
    )
    fit_sample: int = Field(default=FIT_SAMPLE, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bins is None and self.boundaries is None:
            raise ValueError("a numeric feature needs bins (a number) or boundaries (a list)")
        edges = self.boundaries or []
        if not all(map(math.isfinite, edges)) or any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError(f"boundaries must be finite and strictly ascending; got {edges[:20]}")
        return self

    @property
    def token_type(self) -> pa.DataType:
        """int32."""
        return pa.int32()

    @property
    def missing_tokens(self) -> int:
        """One missing token."""
        return MISSING

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """The number of bins: one more than edges."""
        return {"vocabulary_size": FIRST_FREE + size + 1, "bins": size + 1, "boundary_version": 1}
