"""The features of a spec, a model a kind."""

import itertools
import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.base import CleanText, Column, SpecModel

MAX_CODES = 2**20
WARN_CODES = 4096
FIT_SAMPLE = 262_144
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
LATER = "comes with a later release"

Aggregate = Literal["latest", "mean", "median"]


class _Feature(SpecModel):
    name: str = Field(pattern=NAME_PATTERN)
    column: Column
    aggregate: Aggregate | None = Field(
        default=None, description="denormalised logs only: how an item's many values become one"
    )


class CategoricalFeature(_Feature):
    """Ids of a vocabulary; multivalued ones hold a list of ids an item."""

    kind: Literal["categorical"]
    missing_values: list[CleanText] = Field(default=[])
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)
    oov_buckets: int = Field(default=0, ge=0)
    multivalued: bool = False
    nested: Literal["leaf", "nodes", "prefixes"] | None = None
    separator: str | None = Field(default=None, min_length=1)
    max_values: int | None = Field(default=None, ge=1)
    shards: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.multivalued:
            for name in ("nested", "separator", "max_values"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs multivalued: true")
        if self.aggregate in ("mean", "median"):
            raise ValueError(f"aggregate: {self.aggregate} is for numeric features; use latest")
        return self


class NumericFeature(_Feature):
    """Quantile bins of a number, or bins of given boundaries."""

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
            raise ValueError(f"boundaries must be finite and strictly ascending; got {edges}")
        return self

    @property
    def bin_count(self) -> int:
        """How many bins were asked for (repeated edges may leave fewer)."""
        return len(self.boundaries) + 1 if self.boundaries is not None else int(self.bins or 0)


class EmbeddingFeature(_Feature):
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
                f"{self.codes:.3g} codes a group, more than {MAX_CODES}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        if self.aggregate in ("mean", "median"):
            raise ValueError(f"aggregate: {self.aggregate} is for numeric features; use latest")
        return self

    @property
    def group_width(self) -> int:
        """m: how many dimensions one group holds."""
        return self.dim // self.groups

    @property
    def codes(self) -> int:
        """How many codes one group has: quantiles ** m."""
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


Feature = Annotated[
    CategoricalFeature | NumericFeature | EmbeddingFeature, Field(discriminator="kind")
]
