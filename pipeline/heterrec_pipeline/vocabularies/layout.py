"""The layout of a vocabulary: its size, number of shards and the first id of each, from figures of its buckets.

Buckets report **figures**: rows of (vocabulary, figure, key, values). `DISTINCT` is the number of values before
`min_count`; `BY_COUNT` the number of values that occur `key` times, where `max_size` cuts across buckets; `BY_REMAINDER`
the number of kept values whose hash has the remainder `key`. Where rows are known, these two count the values that they lack.
`ERASED` is the number of known values that are erased. Remainders are finer than shards, so that the number of
shards, their sizes and, by prefix sums, their first ids all follow from them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from heterrec_pipeline.job import TableJob
from heterrec_pipeline.parent import KnownVocabulary
from heterrec_pipeline.reading.imported import ImportedVocabulary
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import FIRST_FREE, vocabulary_shards

MODULUS = 2**16
"""Modulus of the counted remainders where the spec does not declare V; no size leads to more than 2^16 shards."""
DISTINCT, BY_COUNT, BY_REMAINDER = "distinct", "by_count", "by_remainder"
ERASED = "erased"
FIGURES = {"vocabulary": pl.String, "figure": pl.String, "key": pl.Int64, "values": pl.Int64}


@dataclass(frozen=True)
class Rules:
    """How a vocabulary is cut and numbered.

    Attributes:
        name: the vocabulary; the kinds of its values have the same name.
        table: the table of the keys or values.
        feature: the categorical feature; None for keys.
        buckets: B: 1 for a small vocabulary.
        oov_buckets: number of ids between missing and the first value.
        shards: V, where the spec declares it or the parent has the vocabulary.
        large: whether ids are looked up by bucket, since no worker holds all of them.
        has_ids: whether ids are needed; those of users are only counted.
        known: the vocabulary, of the parent or of another system, whose rows keep their ids; None if there is none.
        keeps_retired: of the items' keys: whether the log knows those retired items that have tokens.
    """

    name: str
    table: TableJob
    feature: CategoricalFeature | None
    buckets: int
    oov_buckets: int
    shards: int | None
    large: bool = False
    has_ids: bool = True
    known: KnownVocabulary | ImportedVocabulary | None = None
    keeps_retired: bool = False

    @property
    def min_count(self) -> int:
        """Values that occur less often are out of vocabulary."""
        return self.feature.min_count if self.feature else 1

    @property
    def max_size(self) -> int | None:
        """Maximum number of values admitted: the most frequent ones; known rows have their place already."""
        size = self.feature.max_size if self.feature else None
        return size if size is None or self.known is None else max(0, size - self.known.rows)

    @property
    def first(self) -> int:
        """The first id to give."""
        return self.known.size if self.known else FIRST_FREE + self.oov_buckets

    @property
    def inherited(self) -> bool:
        """Whether the parent has the vocabulary."""
        return isinstance(self.known, KnownVocabulary)

    @property
    def limited(self) -> bool:
        """Whether `max_size` cuts across several buckets; a single one is cut when it is sorted."""
        return self.max_size is not None and self.buckets > 1

    @property
    def modulus(self) -> int:
        """Modulus of the counted remainders: a multiple of V."""
        return self.shards or MODULUS


class Cut(NamedTuple):
    """The values that `max_size` keeps: those with a count above a border, and the smallest of those at the border.

    Attributes:
        border: the count at the border; 0 keeps all values.
        tied: number of kept values at the border.
        last: the largest kept value at the border, as the order sorts it (an integer or a text); None if there is none.
    """

    border: int = 0
    tied: int = 0
    last: int | str | None = None


NO_CUT = Cut()


class Layout(NamedTuple):
    """The ranges of ids of a vocabulary's shards.

    Attributes:
        shards: V.
        starts: the first new id of each shard, then the first id after the last: V + 1 numbers.
        values: number of values in the vocabulary.
        distinct: number of values before `min_count` and `max_size`.
        cut: the values that `max_size` keeps, where it cuts across buckets.
        erased: whether rows are erased, so that values may be null.
    """

    shards: int
    starts: tuple[int, ...]
    values: int
    distinct: int
    cut: Cut = NO_CUT
    erased: bool = False

    @property
    def size(self) -> int:
        """The largest id + 1; 0 for a vocabulary without values."""
        return self.starts[-1] if self.values else 0


def figures(vocabulary: str, figure: str, keys: pl.Series) -> pl.DataFrame:
    """The number of values of each key."""
    counts = pl.DataFrame({"key": keys.cast(pl.Int64)}).group_by("key").len("values")
    return counts.select(
        pl.lit(vocabulary).alias("vocabulary"),
        pl.lit(figure).alias("figure"),
        "key",
        pl.col("values").cast(pl.Int64),
    )


def cut_at(by_count: pl.DataFrame, max_size: int) -> Cut:
    """The cut that keeps the `max_size` most frequent values.

    Args:
        by_count: columns key (a count) and values (the number of values with that count).
        max_size: number of values to keep.
    """
    ordered = by_count.group_by("key").agg(pl.col("values").sum()).sort("key", descending=True)
    above = 0
    for count, values in ordered.iter_rows():
        if above + values > max_size:
            return Cut(count, max_size - above)
        above += values
    return Cut()


def lay_out(rules: Rules, counted: pl.DataFrame, cut: Cut = NO_CUT) -> Layout:
    """The layout of a vocabulary by its figures."""
    distinct = int(counted.filter(pl.col("figure") == DISTINCT)["values"].sum())
    remainders = counted.filter(pl.col("figure") == BY_REMAINDER)
    known = rules.known.rows if rules.known else 0
    values = known + int(remainders["values"].sum())
    shards = vocabulary_shards(values, rules.shards)
    assert rules.modulus % shards == 0, (rules.name, shards)
    sizes = remainders.group_by(pl.col("key") % shards).agg(pl.col("values").sum())
    by_shard = dict(sizes.iter_rows())
    starts = [rules.first]
    for shard in range(shards):
        starts.append(starts[-1] + by_shard.get(shard, 0))
    erased = int(counted.filter(pl.col("figure") == ERASED)["values"].sum()) > 0
    return Layout(shards, tuple(starts), values, distinct, cut, erased)


def kept(cut: Cut) -> pl.Expr:
    """Whether a cut keeps a row with columns count and order."""
    count = pl.col("count")
    above = count > cut.border
    if cut.last is None:
        return above
    return above | ((count == cut.border) & (pl.col("order") <= pl.lit(cut.last)))
