"""Embedding features."""

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.base import FIT_SAMPLE, MAX_CODES, BaseFeature
from heterrec_schemas.tokens import FIRST_FREE, MISSING

WARN_CODES = 4096
"""Number of codes of a group above which most codes are rare."""
LATER = "comes with a later release"


class EmbeddingFeature(BaseFeature):
    """Z grouped quantile tokens of a pre-trained vector."""

    kind: Literal["embedding"]
    dim: int = Field(ge=1)
    groups: int = Field(ge=1)
    quantiles: int = Field(ge=2)
    quantizer: Literal["quantile"] = "quantile"
    fit_sample: int = Field(default=FIT_SAMPLE, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_later(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if data.get("quantizer") in ("pq", "rq"):
                raise ValueError(f"quantizer: {data['quantizer']} {LATER}; use quantile")
            if "reduce" in data:
                raise ValueError(f"reduce {LATER}; leave it out")
        return data

    @model_validator(mode="after")
    def _workable(self) -> Self:
        if self.dim % self.groups:
            raise ValueError(
                f"groups: {self.groups} does not divide dim: {self.dim}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        if self.codes > MAX_CODES:
            raise ValueError(
                f"quantiles: {self.quantiles} to the power dim / groups = {self.group_width} gives "
                f"{self.codes:.3g} codes per group, more than {MAX_CODES}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        self._refuse_averages()
        return self

    @property
    def group_width(self) -> int:
        """m: number of dimensions of one group."""
        return self.dim // self.groups

    @property
    def codes(self) -> int:
        """Number of codes of one group: quantiles ** m."""
        return int(self.quantiles**self.group_width)

    def _near_pairs(self) -> str:
        pairs = [
            (abs(math.log(g / self.groups)), abs(q - self.quantiles), g, q)
            for g in range(1, self.dim + 1)
            if self.dim % g == 0
            for q in {self.quantiles, 2, 3, 4}
            if q >= 2 and q ** (self.dim // g) <= MAX_CODES
        ]
        return ", ".join(f"groups: {g} with quantiles: {q}" for _, _, g, q in sorted(pairs)[:3])

    @property
    def token_type(self) -> pa.DataType:
        """Z int32 per item."""
        return pa.list_(pa.int32(), self.groups)

    @property
    def missing_tokens(self) -> list[int]:
        """Z missing tokens."""
        return [MISSING] * self.groups

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """The codes of a group, whatever the number of edges."""
        return {
            "vocabulary_size": FIRST_FREE + self.codes,
            "groups": self.groups,
            "quantiles": self.quantiles,
            "boundary_version": 1,
        }

    def warnings(self) -> Iterator[str]:
        """A large code book."""
        if self.codes > WARN_CODES:
            yield (
                f"{self.codes} codes per group (above {WARN_CODES}); "
                "most will be rare. More groups or fewer quantiles give denser codes."
            )
