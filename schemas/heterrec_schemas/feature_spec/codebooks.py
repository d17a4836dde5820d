"""Embedding features with codebooks of centroids: product quantization (pq) and residual quantization (rq)."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heterrec_schemas.feature_spec.embedding import MAX_DIM, WARN_CODES, EmbeddingFeature

BOOK_SAMPLE = 65_536
"""Number of vectors that codebooks are fitted to, unless the spec says otherwise: 256 per code of the default."""
MAX_LEVELS = 64
MAX_SAMPLE_VALUES = 2**27
"""Number of values that k-means may hold at once: vectors of the sample times dimensions of a codebook (13 bytes each)."""


class CodebookEmbedding(EmbeddingFeature):
    """Tokens that name the nearest centroid of several codebooks, which k-means has fitted."""

    denser_codes: ClassVar[str] = "Fewer codes"
    codes: int = Field(default=256, ge=2, le=WARN_CODES)
    fit_sample: int = Field(default=BOOK_SAMPLE, ge=1)

    @property
    def code_count(self) -> int:
        """Number of centroids of a codebook, or fewer if there were fewer distinct vectors."""
        return self.codes

    @property
    def book_width(self) -> int:
        """Number of dimensions of a centroid."""
        return self.width

    def fitted_fields(self, size: int) -> dict[str, Any]:
        """With the number of codes."""
        return super().fitted_fields(size) | {"codes": self.codes}

    def _check(self) -> None:
        if (values := self.fit_sample * self.book_width) > MAX_SAMPLE_VALUES:
            raise ValueError(
                f"fit_sample: {self.fit_sample} vectors of {self.book_width} dimensions per codebook are "
                f"{values:,} values in the memory of one worker, more than {MAX_SAMPLE_VALUES:,}; "
                f"use fit_sample: {MAX_SAMPLE_VALUES // self.book_width} or less"
            )
        self._refuse_averages()


class ProductEmbedding(CodebookEmbedding):
    """Product quantization: one codebook for each of Z groups of consecutive dimensions. One group is plain k-means."""

    quantizer: Literal["pq"]
    groups: int = Field(ge=1, le=MAX_DIM)

    @model_validator(mode="after")
    def _workable(self) -> Self:
        if self.width % self.groups:
            divisors = [g for g in range(1, self.width + 1) if self.width % g == 0]
            near = sorted(divisors, key=lambda g: (abs(g - self.groups), g))[:3]
            raise ValueError(
                f"groups: {self.groups} does not divide {self.width_name}: {self.width}; "
                f"the nearest that do: {', '.join(map(str, near))}"
            )
        self._check()
        return self

    @property
    def token_count(self) -> int:
        """Z."""
        return self.groups

    @property
    def book_width(self) -> int:
        """m: number of dimensions of one group."""
        return self.width // self.groups


class ResidualEmbedding(CodebookEmbedding):
    """Residual quantization: L codebooks, each for what the centroids of the levels before it leave of a vector."""

    token_word: ClassVar[str] = "level"
    quantizer: Literal["rq"]
    levels: int = Field(ge=1, le=MAX_LEVELS)

    @model_validator(mode="after")
    def _workable(self) -> Self:
        self._check()
        return self

    @property
    def token_count(self) -> int:
        """L."""
        return self.levels
