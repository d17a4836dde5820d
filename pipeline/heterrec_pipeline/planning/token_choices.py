"""Compares settings of an embedding feature's tokens by the neighbours that they keep, on the vectors of a trial build."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.embedding import Vectors
from heterrec_pipeline.fitting.quantizers import fit_block
from heterrec_pipeline.fitting.sample import BlockSample
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import KEY, keyed_batches
from heterrec_pipeline.reading.files import split_file
from heterrec_pipeline.statistics.neighbours import NEAREST, VECTORS, chance, kept, nearest
from heterrec_schemas.feature_spec import EmbeddingFeature, QuantileEmbedding, Reduce
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.reductions import fit_reduction, reduce_vectors

COMPONENTS = (32, 64, 128, 256)
BINS = ((2, 4), (2, 6), (2, 8), (4, 2), (4, 3), (4, 4))
"""Pairs of quantiles per dimension and dimensions per group: 16, 64 or 256 codes."""
MOST_TOKENS = 128


@dataclass(frozen=True)
class Choice:
    """One setting of a feature's tokens, measured.

    Attributes:
        feature: the feature with this setting.
        kept: share of the 10 nearest vectors by cosine that are among the 50 with the most equal tokens; of several with the
            same number, the expected share.
        used: share of the codes that occur.
    """

    feature: EmbeddingFeature
    kept: float
    used: float

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of the spec that differ between choices."""
        data = self.feature.model_dump(exclude_none=True, exclude_defaults=True)
        for name in ("name", "kind", "column", "dim", "fit_sample", "aggregate"):
            data.pop(name, None)
        return data

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        counts = {"tokens": self.feature.token_count, "codes_a_token": self.feature.code_count}
        shares = {"kept": round(self.kept, 4), "codes_used_share": round(self.used, 4)}
        return {"settings": self.settings, **counts, **shares}


@dataclass(frozen=True)
class TokenChoices:
    """The settings compared for a feature.

    Attributes:
        side: item or user.
        vectors: number of vectors read.
        distinct: number of distinct ones among those that were compared.
        choices: the settings; that of the spec first.
    """

    side: str
    vectors: int
    distinct: int
    choices: list[Choice]

    @property
    def name(self) -> str:
        """The feature's name."""
        return self.choices[0].feature.name

    @property
    def chance(self) -> float:
        """What `kept` is for tokens without any relation to the vectors."""
        return chance(self.distinct)

    @cached_property
    def proposed(self) -> Choice:
        """What keeps most with at most as many tokens as the spec's; of equal ones that with fewer tokens, then codes."""
        most = self.choices[0].feature.token_count
        return min(
            (c for c in self.choices if c.feature.token_count <= most),
            key=lambda c: (-round(c.kept, 4), c.feature.token_count, c.feature.code_count),
        )

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "feature": self.name,
            "side": self.side,
            "vectors": self.vectors,
            "distinct": self.distinct,
            "chance": round(self.chance, 4),
            "choices": [c.as_json() for c in self.choices],
            "proposed": self.choices.index(self.proposed),
        }


def token_choices(trial: BuildConfig) -> list[TokenChoices]:
    """Compare settings for each embedding feature of a trial build's input that has at least 20 distinct vectors."""
    tables = check_tables(trial.spec, trial.input)
    found = []
    for table in filter(None, (tables.items, *tables.joins, tables.users)):
        for feature in table.embeddings:
            count, vectors_ND = _vectors(table, feature)
            if len(vectors_ND) > 2 * NEAREST:
                found.append(compare(feature, table.side, count, vectors_ND))
    return found


def _vectors(table: TableJob, feature: EmbeddingFeature) -> tuple[int, Vectors]:
    """The number of a table's vectors, and distinct ones in the order of the hashes of their keys: [at most 5,000, D]."""
    keys, parts = [], []
    for file in table.files:
        for split in split_file(file):
            for batch in keyed_batches(table, split, [feature.column]):
                at, values_ND, _ = embedding.vectors(feature, batch.rows[feature.column])
                parts.append(values_ND)
                keys.append(pl.Series(batch.rows[KEY]).gather(at))
    if not parts:
        return 0, np.empty((0, feature.dim), np.float32)
    values_ND = np.concatenate(parts) + np.float32(0.0)
    order = hash_texts(pl.concat(keys)).arg_sort().to_numpy()
    first: dict[bytes, int] = {}
    for at in order.tolist():
        first.setdefault(values_ND[at].tobytes(), at)
        if len(first) == VECTORS:
            break
    return len(values_ND), values_ND[list(first.values())]


def compare(feature: EmbeddingFeature, side: str, count: int, vectors_ND: Vectors) -> TokenChoices:
    """Measure the settings of a feature.

    Args:
        feature: as in the spec.
        side: item or user.
        count: number of vectors read.
        vectors_ND: distinct vectors [N, D].
    """
    nearest_QK = nearest(vectors_ND)
    choices, reduced = [], dict[Reduce | None, Vectors]()
    for other in (feature, *settings(feature)):
        if other.reduce not in reduced:
            reduced[other.reduce] = _reduced(other, vectors_ND)
        tokens_NZ = tokens_of(other, reduced[other.reduce])
        codes = [len(np.unique(column)) for column in tokens_NZ.T]
        used = float(np.mean(codes)) / other.code_count
        choices.append(Choice(other, kept(tokens_NZ, nearest_QK), used))
    return TokenChoices(side, count, len(vectors_ND), choices)


def settings(feature: EmbeddingFeature) -> Iterator[EmbeddingFeature]:
    """Settings with grouped quantiles of the vectors, and of 32 to 256 rotated principal components."""
    own = feature.model_dump(include={"name", "kind", "column", "dim", "fit_sample"})
    reductions: list[dict[str, Any]] = [{}]
    reductions += [{"reduce": {"pca": p, "rotate": True}} for p in COMPONENTS if p < feature.dim]
    for reduction in reductions:
        width = reduction["reduce"]["pca"] if reduction else feature.dim
        for quantiles, dims in BINS:
            if width % dims or width // dims > MOST_TOKENS:
                continue
            sizes = {"groups": width // dims, "quantiles": quantiles}
            other = QuantileEmbedding.model_validate(own | sizes | reduction)
            if other != feature:
                yield other


def _reduced(feature: EmbeddingFeature, vectors_ND: Vectors) -> Vectors:
    """The vectors after a reduction that is fitted to them, if the feature has one."""
    if feature.reduce is None:
        return vectors_ND
    reduction = fit_reduction(vectors_ND, feature.reduce.pca, rotate=feature.reduce.rotate)
    return reduce_vectors(vectors_ND, reduction)


def tokens_of(feature: EmbeddingFeature, vectors_ND: Vectors) -> npt.NDArray[np.int32]:
    """The tokens of (reduced) vectors by a quantizer that is fitted to them: [N, Z]."""
    sample = BlockSample(feature.width, len(vectors_ND), len(vectors_ND), ordered=True)
    sample.add(vectors_ND, pl.Series(map(str, range(len(vectors_ND)))))
    return embedding.vector_tokens(feature, vectors_ND, fit_block(feature, sample))


def shown(choice: Choice) -> str:
    """The settings as they stand in a spec: `groups: 32, quantiles: 4`."""
    return ", ".join(f"{key}: {_text(value)}" for key, value in choice.settings.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
