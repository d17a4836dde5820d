"""What the features of a table become: values, ids, bins and codes, from the rows that were read."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.fitted import missing_token
from heterrec_pipeline.fitting.quantizers import BlockSample, blocks
from heterrec_pipeline.planning.one_table import value_ids, vocabulary
from heterrec_pipeline.planning.sampling.estimates import Estimate, Fraction, Tally, distinct
from heterrec_pipeline.planning.sampling.rows import Rows
from heterrec_pipeline.reading.read import one_chunk
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    NumericFeature,
)
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.tokens import FIRST_FREE, MISSING, vocabulary_shards
from heterrec_schemas.values import Seen

MERGE_AT = 16


@dataclass
class FeatureSurvey:
    """What is known of one feature.

    Attributes:
        feature: its spec.
        side: item or user.
        rows: rows read, and of them `missing` without a value.
        fitted: the vocabulary, edges or quantizer that the rows read give; None where every value is missing.
        distinct: how many distinct values the table holds (categorical).
        ids: how many values get an id (categorical), bins (numeric), or codes that are used, of all groups (embedding).
        integral: whether a vocabulary's values are whole numbers.
        reasons: cells that cannot be used.
        used: [Z] how many codes of each group were used in what was read.
        coverage: the share of the side's keys that have a row in the feature's table.
    """

    feature: Feature
    side: str
    rows: int = 0
    missing: int = 0
    oov: int = 0
    fitted: pa.Table | None = None
    distinct: Estimate | None = None
    ids: Estimate = field(default_factory=lambda: Estimate.exactly(0))
    integral: bool = False
    reasons: Counter[Reason] = field(default_factory=Counter)
    used: list[int] = field(default_factory=list)
    coverage: float = 1.0

    @property
    def missing_share(self) -> float:
        """The share of items (or users) without a value."""
        return 1 - self.coverage * (1 - self.missing / self.rows) if self.rows else 1.0

    @property
    def oov_share(self) -> float:
        """The share of items (or users) with a value outside the vocabulary."""
        return self.coverage * self.oov / self.rows if self.rows else 0.0

    @property
    def size(self) -> int:
        """The `size` that the build's `Fitted` will have, as far as it can be told."""
        if isinstance(self.feature, CategoricalFeature):
            return FIRST_FREE + self.feature.oov_buckets + self.ids.value if self.ids.value else 0
        return 0 if self.fitted is None else len(self.fitted)

    @property
    def shards(self) -> int:
        """How many shards its vocabulary has; 0 for the other kinds."""
        if not isinstance(self.feature, CategoricalFeature):
            return 0
        return vocabulary_shards(self.ids.value, self.feature.shards)

    def tokens(self, column: pa.Array) -> pa.Array:
        """The tokens of raw cells; also counts those out of vocabulary."""
        if self.fitted is None:
            return pa.concat_arrays([missing_token(self.feature)] * len(column))
        if isinstance(self.feature, CategoricalFeature):
            encoded = categorical.encode(self.feature, column, value_ids(self.fitted))
        elif isinstance(self.feature, NumericFeature):
            encoded = numeric.encode(self.feature, column, self.fitted)
        else:
            encoded = embedding.encode(self.feature, column, self.fitted)
        self.oov += encoded.oov_rows
        return encoded.tokens


def survey(feature: Feature, rows: Rows) -> FeatureSurvey:
    """Read a feature's column, and fit it to what was read."""
    found = FeatureSurvey(feature, rows.table.side)
    if isinstance(feature, CategoricalFeature):
        _categorical(feature, rows, found)
    elif isinstance(feature, NumericFeature):
        _numeric(feature, rows, found)
    else:
        _embedding(feature, rows, found)
    return found


def _categorical(feature: CategoricalFeature, rows: Rows, found: FeatureSurvey) -> None:
    """Values, and how many of them get an id."""
    tally, parts, kinds = Tally(), [], Seen.NOTHING
    values = widest = 0
    for _, batch in rows.blocks([feature.column]):
        hashes = []
        for table in batch:
            long, seen = categorical.texts(feature, one_chunk(table, feature.column))
            kinds |= seen
            present = long["row"].n_unique()
            found.rows += len(table)
            found.missing += len(table) - present
            values += len(long)
            if len(long):
                widest = max(widest, int(np.bincount(long["row"].to_numpy()).max()))
                parts.append(categorical.count(long))
                hashes.append(pl.Series(parts[-1]["value"]))
            if len(parts) >= MERGE_AT:
                parts = [categorical.merge(feature, parts)]
        if hashes:
            tally.add(hash_texts(pl.concat(hashes)).to_numpy())
    found.integral = kinds.integral
    if not values:
        return
    counts = categorical.merge(feature, parts)
    found.fitted = vocabulary(feature, counts, kinds, rows.table.name)
    part = rows.part
    found.distinct = distinct(*tally.incidence(), part, part.unread_rows * widest)
    found.ids = _ids(feature, pl.DataFrame(pl.from_arrow(counts)), found.distinct, part)
    if feature.min_count > 1 and not part.whole:
        # In the rows read a value is rarer than in all of them.
        loose = feature.model_copy(update={"min_count": 1, "max_size": found.ids.value or 1})
        found.fitted = vocabulary(loose, counts, kinds, rows.table.name)


def _ids(
    feature: CategoricalFeature, counts: pl.DataFrame, values: Estimate, part: Fraction
) -> Estimate:
    """How many values are frequent enough, and among the `max_size` most frequent."""
    sure = int((counts["count"] >= feature.min_count).sum())
    most = values.high if feature.max_size is None else min(values.high, feature.max_size)
    if part.whole:
        return Estimate.exactly(sure if feature.max_size is None else min(sure, feature.max_size))
    guess = float(values.value)
    if feature.min_count > 1:
        guess = float((counts["count"] / part.share >= feature.min_count).sum())
    return Estimate.between(min(sure, most), guess, most)


def _numeric(feature: NumericFeature, rows: Rows, found: FeatureSurvey) -> None:
    """Edges, and how many bins they leave."""
    parts = []
    for _, batch in rows.blocks([feature.column]):
        for table in batch:
            column = one_chunk(table, feature.column)
            values, bad = numeric.numbers(feature, column)
            found.rows += len(table)
            found.missing += int(np.isnan(values).sum())
            found.reasons.update(cell.reason for cell in bad)
            parts.append(numeric.sample(feature, column, rows.keys(table), rows.population))
            if len(parts) >= MERGE_AT:
                parts = [numeric.merge(feature, parts)]
    merged = numeric.merge(feature, parts) if parts else None
    if merged is None or len(merged) == 0:
        return
    edges = numeric.edges(feature, merged, rows.table.name)
    found.fitted = pa.table([pa.array(edges)], schema=BOUNDARIES_SCHEMA)
    bins = len(edges) + 1
    exact = rows.part.whole or feature.boundaries is not None
    found.ids = (
        Estimate.exactly(bins) if exact else Estimate.between(1, bins, int(feature.bins or bins))
    )


def _embedding(feature: EmbeddingFeature, rows: Rows, found: FeatureSurvey) -> None:
    """The quantizer, then which codes its tokens use."""
    edges = []
    for _, first, last in blocks(feature, rows.population):
        sample = BlockSample(last - first, rows.population, feature.fit_sample)
        for _, batch in rows.blocks([feature.column]):
            for table in batch:
                at, values, bad = embedding.vectors(feature, one_chunk(table, feature.column))
                sample.add(values[:, first:last], rows.keys(table).gather(at))
                if first == 0:
                    found.rows += len(table)
                    found.missing += len(table) - len(at)
                    found.reasons.update(cell.reason for cell in bad)
        if sample.count == 0:
            return
        edges.append(sample.edges(feature.quantiles))
    found.fitted = embedding.quantizer_table(np.concatenate(edges, axis=1))
    _occupancy(feature, rows, found)


def _occupancy(feature: EmbeddingFeature, rows: Rows, found: FeatureSurvey) -> None:
    """In how many blocks each code of each group is used; a code is a value like any other."""
    tally = Tally()
    offsets = np.arange(feature.groups, dtype=np.uint64) * np.uint64(feature.codes)
    used = np.zeros(feature.groups * feature.codes, dtype=bool)
    assert found.fitted is not None
    for _, batch in rows.blocks([feature.column]):
        here = np.zeros_like(used)
        for table in batch:
            column = one_chunk(table, feature.column)
            tokens = embedding.encode(feature, column, found.fitted).tokens
            codes = tokens.flatten().to_numpy().reshape(-1, feature.groups)
            codes = codes[codes[:, 0] != MISSING].astype(np.uint64) - np.uint64(FIRST_FREE)
            here[(codes + offsets).ravel()] = True
        tally.add(np.flatnonzero(here).astype(np.uint64))
        used |= here
    found.used = used.reshape(feature.groups, feature.codes).sum(axis=1).tolist()
    every = feature.groups * feature.codes
    guess = distinct(*tally.incidence(), rows.part, rows.part.unread_rows * feature.groups)
    found.ids = Estimate.between(guess.low, min(guess.value, every), min(guess.high, every))
