"""Estimates the cardinalities of features: values, bins and codes, from the trial build and the values read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from heterrec_pipeline.planning.estimates import BlockCounts, Fraction, Interval, Ints, distinct
from heterrec_pipeline.planning.histories import BLOCK
from heterrec_pipeline.planning.sample import InputSample
from heterrec_pipeline.planning.scan import KEY, SLICES, TableRead
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, Feature
from heterrec_schemas.generation import Generation
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import FIRST_FREE, feature_stem, vocabulary_shards

NOTHING = Interval.exactly(0)


@dataclass(frozen=True)
class FeatureFigures:
    """A feature of the whole build.

    Attributes:
        feature, side: the feature of the spec.
        rows: items (users) of the trial build.
        entry: its entry in the trial's manifest; None for a feature without any value.
        distinct: number of distinct values of a categorical feature.
        ids: number of values with an id, of bins, or of codes used in all groups.
        used: number of codes used by group.
    """

    feature: Feature
    side: str
    rows: int
    entry: FeatureEntry | None
    distinct: Interval = NOTHING
    ids: Interval = NOTHING
    used: tuple[int, ...] = ()

    @property
    def stem(self) -> str:
        """The name of the feature's files."""
        return feature_stem(self.side, self.feature.name)

    @property
    def missing_share(self) -> float:
        """The share of items (users) without a value."""
        return self.entry.missing / self.rows if self.entry and self.rows else 1.0

    @property
    def oov_share(self) -> float:
        """The share of items (users) with a value outside the vocabulary."""
        return self.entry.oov / self.rows if self.entry and self.rows else 0.0

    @property
    def shards(self) -> int:
        """Number of shards of the vocabulary; 0 for other kinds."""
        if not isinstance(self.feature, CategoricalFeature):
            return 0
        return vocabulary_shards(self.ids.value, self.feature.shards)


def feature_figures(read: InputSample, trial: Generation) -> Iterator[FeatureFigures]:
    """All features in the order of the spec, the items' first."""
    counts, spec = trial.manifest.counts, read.job.spec
    rows = {"item": counts.items.kept, "user": counts.users.kept if counts.users else 0}
    entries = {(str(e.side), e.name): e for e in trial.manifest.features}
    for side, features in (("item", spec.items.features), ("user", spec.user_features)):
        tables = [t for t in read.tables.values() if t.table.side == side]
        for feature in features:
            entry = entries.get((side, feature.name))
            figures = FeatureFigures(feature, side, rows[side], entry)
            if entry is not None:
                table = next(t for t in tables if feature.name in t.table.feature_names)
                figures = _counted(read, trial, table, figures, entry)
            yield figures


def _counted(
    read: InputSample,
    trial: Generation,
    table: TableRead,
    figures: FeatureFigures,
    entry: FeatureEntry,
) -> FeatureFigures:
    feature = figures.feature
    if isinstance(feature, EmbeddingFeature):
        used, ids = _codes(read, trial, table, figures, feature)
        return replace(figures, ids=ids, used=used)
    if isinstance(feature, CategoricalFeature):
        values = table.distinct[feature.name]
        ids = _values(read, trial, table, figures, feature)
        if read.whole:
            ids = Interval.exactly(entry.vocabulary_size - FIRST_FREE - feature.oov_buckets)
        return replace(figures, distinct=values, ids=ids)
    bins = entry.bins or 1
    if read.whole or feature.boundaries is not None:
        return replace(figures, ids=Interval.exactly(bins))
    return replace(figures, ids=Interval.between(1, bins, feature.bins or bins))


def _values(
    read: InputSample,
    trial: Generation,
    table: TableRead,
    figures: FeatureFigures,
    feature: CategoricalFeature,
) -> Interval:
    """Number of values with at least `min_count` rows, from a trial build with `min_count` 1.

    Those of another system's vocabulary are ids in any case; of the other ones, the trial has the share among all values.
    """
    values, frequent = table.distinct[feature.name], table.frequent[feature.name]
    vocabulary = trial.vocabulary(figures.stem)
    counts = pl.Series(vocabulary["count"])
    imported = read.job.imported.get(f"{figures.side}/{feature.name}")
    rows, first = (imported.rows, imported.size) if imported else (0, 0)
    new = counts.filter(pl.Series(vocabulary["id"]) >= first)
    share = len(new) / max(1, int((counts > 0).sum()))
    sure, most = int((new >= feature.min_count).sum()), values.high
    if table.sample is None:  # rows of the log do not give the number of items per value
        grown = counts * (table.keys.value / max(1, figures.rows))
        frequent = int((grown.round() >= feature.min_count).sum())
    elif table.part.whole:
        most = frequent
    most = min(most, max(0, (feature.max_size or rows + most) - rows))
    guess = share * (values.value if feature.min_count == 1 else frequent)
    return Interval.between(rows + min(sure, most), rows + guess, rows + most)


def _codes(
    read: InputSample,
    trial: Generation,
    table: TableRead,
    figures: FeatureFigures,
    feature: EmbeddingFeature,
) -> tuple[tuple[int, ...], Interval]:
    """Number of codes used, by group and in all groups; a code is counted like a value of the blocks."""
    groups, per_group = feature.token_count, feature.code_count
    every = groups * per_group
    first = np.arange(groups) * per_group - FIRST_FREE
    used, tally = np.zeros(every, np.bool_), BlockCounts()
    for keys, tokens in _tokens(trial, figures):
        codes = tokens.reshape(-1, groups)
        valued, blocks = codes[:, 0] >= FIRST_FREE, _blocks(keys, table)
        for number in np.unique(blocks[valued]).tolist():
            here = np.unique(codes[valued & (blocks == number)] + first)
            used[here] = True
            tally.add(number, pl.Series(here.astype(np.uint64)))
    part = _part(read, table, figures.rows)
    found = distinct(tally, part, part.unread_rows * groups)
    by_group = used.reshape(groups, per_group).sum(axis=1).tolist()
    ids = Interval.between(found.low, min(found.value, every), min(found.high, every))
    return tuple(by_group), ids


def _part(read: InputSample, table: TableRead, rows: int) -> Fraction:
    """The fraction of a table in the trial build: the same number of blocks, with fewer rows."""
    blocks, total = SLICES if table.sliced else table.part.read, table.keys.value
    if table.sample is not None:
        rows, total = len(table.sample), table.rows.value
    if read.whole or rows >= total:
        return Fraction(1, 1, 0)
    return Fraction(blocks, max(blocks, blocks * total // max(1, rows)), total - rows)


def _tokens(trial: Generation, figures: FeatureFigures) -> Iterator[tuple[pl.Series, Ints]]:
    """Keys and tokens of the items, or of the users with a history, one shard at a time."""
    key, paths = "item_id", trial.item_shards()
    if figures.side == "user":
        key, paths = "user_id", trial.sequence_shards("latest")
    for path in paths:
        rows = trial.read([path], [key, figures.stem])
        tokens = one_chunk(rows, figures.stem).flatten().to_numpy()
        yield pl.Series(rows[key]).cast(pl.String), tokens.astype(np.int64)


def _blocks(keys: pl.Series, table: TableRead) -> Ints:
    """Number of the block that contains the row of each key."""
    if table.sliced or table.sample is None:
        return (hash_texts(keys).to_numpy() % np.uint64(SLICES)).astype(np.int64)
    owners = pl.DataFrame(pl.from_arrow(table.sample.select([KEY, BLOCK]))).unique(KEY)
    found = pl.DataFrame({KEY: keys}).join(owners, on=KEY, how="left", maintain_order="left")
    return found[BLOCK].fill_null(0).to_numpy().astype(np.int64)
