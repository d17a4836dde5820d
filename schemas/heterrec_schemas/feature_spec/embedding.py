"""Embedding features: what all quantizers have in common, and grouped quantile tokens.

The other quantizers are in `codebooks.py`.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.base import FIT_SAMPLE, MAX_CODES, BaseFeature, SpecModel
from heterrec_schemas.reductions import MAX_REDUCED_DIM
from heterrec_schemas.tokens import FIRST_FREE, MISSING

MAX_DIM = 2**16
"""Number of dimensions that a vector may have."""
WARN_CODES = 4096
"""Number of codes of a group above which most codes are rare."""
_LARGEST_FLOAT = Decimal("1e308")
_SIZES = ("groups", "levels", "quantiles", "codes")
"""The settings that differ between quantizers."""


_DIMENSIONS = re.compile(r"(.*)\{(\d{1,9})\.\.(\d{1,9})\}(.*)", re.DOTALL)


def dimension_columns(column: str) -> list[str] | None:
    """The columns of the dimensions that `column` means, as in `emb_{0..63}`; None if it is one column.

    Numbers have as many digits as the first one: `e{000..383}`. More than `MAX_DIM` are one column.
    """
    found = _DIMENSIONS.fullmatch(column)
    if found is None or len(numbers := _numbers(found)) > MAX_DIM:
        return None
    before, first, _, after = found.groups()
    return [f"{before}{number:0{len(first)}d}{after}" for number in numbers]


def _numbers(dimensions: re.Match[str]) -> range:
    return range(int(dimensions[2]), int(dimensions[3]) + 1)


class Reduce(SpecModel):
    """What is done to vectors before they are quantized: principal components, then a random rotation."""

    pca: int | None = Field(default=None, ge=1, le=MAX_REDUCED_DIM)
    rotate: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.pca is None and not self.rotate:
            raise ValueError(
                "reduce: found neither pca nor rotate; use {pca: WIDTH}, {rotate: true} or both"
            )
        return self


class EmbeddingFeature(BaseFeature):
    """Several tokens of a pre-trained vector; a subclass per quantizer."""

    token_word: ClassVar[str] = "group"
    """What has a token."""
    denser_codes: ClassVar[str]
    """The changes of the spec that give fewer codes per token, as a phrase."""
    kind: Literal["embedding"]
    quantizer: str
    dim: int = Field(ge=1, le=MAX_DIM)
    fit_sample: int = Field(default=FIT_SAMPLE, ge=1)
    reduce: Reduce | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        own = [name for name in _SIZES if name in cls.model_fields]
        if others := [name for name in _SIZES if name in data and name not in own]:
            raise ValueError(
                f"quantizer: {data.get('quantizer', 'quantile')} has no {' and no '.join(others)}; "
                f"it has {' and '.join(own)}"
            )
        return data

    @model_validator(mode="after")
    def _as_wide_as_its_columns(self) -> Self:
        found = _DIMENSIONS.fullmatch(self.column)
        if found is not None and (count := len(_numbers(found))) != self.dim:
            raise ValueError(f"column: {self.column} is {count} columns, but dim is {self.dim}")
        return self

    @model_validator(mode="after")
    def _reducible(self) -> Self:
        if self.reduce is None:
            return self
        if self.dim > MAX_REDUCED_DIM:
            raise ValueError(
                f"reduce: vectors of dim: {self.dim} are too wide; at most {MAX_REDUCED_DIM}"
            )
        if self.width > self.dim:
            raise ValueError(
                f"reduce: pca: {self.width} is more than dim: {self.dim}; use {self.dim} or less"
            )
        return self

    @property
    def width(self) -> int:
        """Number of dimensions that are quantized: `dim`, or those that `reduce` leaves."""
        pca = None if self.reduce is None else self.reduce.pca
        return self.dim if pca is None else pca

    @property
    def width_name(self) -> str:
        """The key of the spec that gives `width`."""
        return "dim" if self.reduce is None or self.reduce.pca is None else "pca"

    @property
    @abstractmethod
    def token_count(self) -> int:
        """Number of tokens of a vector."""

    @property
    @abstractmethod
    def code_count(self) -> int:
        """Number of codes that each token chooses from."""

    @property
    def token_type(self) -> pa.DataType:
        """`token_count` int32 per item."""
        return pa.list_(pa.int32(), self.token_count)

    @property
    def missing_tokens(self) -> list[int]:
        """All tokens missing."""
        return [MISSING] * self.token_count

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """The codes of a token, whatever the number of edges or centroids."""
        return {
            "vocabulary_size": FIRST_FREE + self.code_count,
            "quantizer": self.quantizer,
            "groups": self.token_count,
            "reduced_dim": None if self.reduce is None else self.width,
            "boundary_version": 1,
        }


class QuantileEmbedding(EmbeddingFeature):
    """Z grouped quantile tokens."""

    denser_codes: ClassVar[str] = "Fewer quantiles or more groups"
    quantizer: Literal["quantile"] = "quantile"
    groups: int = Field(ge=1, le=MAX_DIM)
    quantiles: int = Field(ge=2, le=MAX_CODES)

    @model_validator(mode="after")
    def _workable(self) -> Self:
        if self.width % self.groups:
            raise ValueError(
                f"groups: {self.groups} does not divide {self.width_name}: {self.width}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        codes = _codes(self.quantiles, self.group_width)
        if codes > MAX_CODES:
            shown = float(codes) if codes < _LARGEST_FLOAT else codes
            raise ValueError(
                f"quantiles: {self.quantiles} to the power {self.width_name} / groups = {self.group_width} gives "
                f"{shown:.3g} codes per group, more than {MAX_CODES}; "
                f"workable pairs near it: {self._near_pairs()}"
            )
        self._refuse_averages()
        return self

    @property
    def group_width(self) -> int:
        """m: number of dimensions of one group."""
        return self.width // self.groups

    @property
    def token_count(self) -> int:
        """Z."""
        return self.groups

    @property
    def code_count(self) -> int:
        """Number of codes of one group: quantiles ** m."""
        return int(self.quantiles**self.group_width)

    def _near_pairs(self) -> str:
        pairs = [
            (abs(math.log(g / self.groups)), abs(q - self.quantiles), g, q)
            for g in range(1, self.width + 1)
            if self.width % g == 0
            for q in {self.quantiles, 2, 3, 4}
            if q >= 2 and _codes(q, self.width // g) <= MAX_CODES
        ]
        return ", ".join(f"groups: {g} with quantiles: {q}" for _, _, g, q in sorted(pairs)[:3])

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """With the number of bins per dimension."""
        return super().fitted_fields(size) | {"quantiles": self.quantiles}

    def warnings(self) -> Iterator[str]:
        """A large code book."""
        if self.code_count > WARN_CODES:
            yield (
                f"{self.code_count} codes per group (above {WARN_CODES}); "
                "most will be rare. More groups or fewer quantiles give denser codes."
            )


def _codes(quantiles: int, width: int) -> Decimal:
    """Number of codes of a group, of which the first 28 digits are exact: it may have thousands."""
    return Decimal(quantiles) ** width
