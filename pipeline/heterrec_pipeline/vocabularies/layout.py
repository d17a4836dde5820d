"""From small tables of figures to a large vocabulary's layout: which values it holds, how many shards, the first id of each.

Buckets report **figures**: rows of (vocabulary, figure, key, values). `DISTINCT` counts values before `min_count`;
`BY_COUNT` how many values stand so often, where `max_size` asks; `BY_REMAINDER` how many kept values have the hash
remainder `key`. Remainders are finer than shards, so that the number of shards, their sizes and by prefix sums their
first ids all follow from them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.job import TableJob
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import FIRST_FREE, vocabulary_shards

MODULUS = 2**16
"""Remainders are counted modulo this, or modulo V where the spec declares it; more than 2^16 shards follow from no size."""
DISTINCT, BY_COUNT, BY_REMAINDER = "distinct", "by_count", "by_remainder"
FIGURES = {"vocabulary": pl.String, "figure": pl.String, "key": pl.Int64, "values": pl.Int64}


@dataclass(frozen=True)
class Rules:
    """How a large vocabulary is cut and numbered.

    Attributes:
        name: the vocabulary; the kinds of its values go by the same name.
        table: whose keys or values they are.
        feature: the categorical feature; None for keys.
        buckets: B.
        oov_buckets: ids between missing and the first value.
        shards: V, where the spec declares it.
    """

    name: str
    table: TableJob
    feature: CategoricalFeature | None
    buckets: int
    oov_buckets: int
    shards: int | None

    @property
    def min_count(self) -> int:
        """Values seen less often are out of vocabulary."""
        return self.feature.min_count if self.feature else 1

    @property
    def max_size(self) -> int | None:
        """So many of the most frequent values are kept."""
        return self.feature.max_size if self.feature else None

    @property
    def modulus(self) -> int:
        """Of the remainders: a multiple of V."""
        return self.shards or MODULUS


class Cut(NamedTuple):
    """Which values `max_size` leaves: those of a count above a border, and of those at the border the smallest.

    Attributes:
        border: this count; 0 keeps all values.
        tied: how many of just so many are kept.
        last: the largest of these, as the order sorts it (an integer or a text); None when none of them is kept.
    """

    border: int = 0
    tied: int = 0
    last: int | str | None = None


class Layout(NamedTuple):
    """Where a vocabulary's values get their ids.

    Attributes:
        shards: V.
        starts: the first id of each shard, and the first id behind the last: V + 1.
        values: how many values it holds.
        distinct: how many there were before `min_count` and `max_size`.
    """

    shards: int
    starts: tuple[int, ...]
    values: int
    distinct: int

    @property
    def size(self) -> int:
        """The largest id + 1; 0 for a vocabulary without values."""
        return self.starts[-1] if self.values else 0


def figures(vocabulary: str, figure: str, keys: pl.Series) -> pl.DataFrame:
    """How many there are of each key."""
    counts = pl.DataFrame({"key": keys.cast(pl.Int64)}).group_by("key").len("values")
    return counts.select(
        pl.lit(vocabulary).alias("vocabulary"),
        pl.lit(figure).alias("figure"),
        "key",
        pl.col("values").cast(pl.Int64),
    )


def no_figures() -> pa.Table:
    """A table of figures without any."""
    return pl.DataFrame(schema=FIGURES).to_arrow()


def cut_at(by_count: pl.DataFrame, max_size: int) -> Cut:
    """How often a value must stand to be among the `max_size` most frequent, and how many of the border's are.

    Args:
        by_count: columns key (how often) and values (how many stand so often).
        max_size: how many values are kept.
    """
    ordered = by_count.group_by("key").agg(pl.col("values").sum()).sort("key", descending=True)
    above = 0
    for count, values in ordered.iter_rows():
        if above + values > max_size:
            return Cut(count, max_size - above)
        above += values
    return Cut()


def lay_out(rules: Rules, found: pl.DataFrame) -> Layout:
    """The shards of a vocabulary, by its figures."""
    distinct = int(found.filter(pl.col("figure") == DISTINCT)["values"].sum())
    remainders = found.filter(pl.col("figure") == BY_REMAINDER)
    values = int(remainders["values"].sum())
    shards = vocabulary_shards(values, rules.shards)
    assert rules.modulus % shards == 0, (rules.name, shards)
    sizes = remainders.group_by(pl.col("key") % shards).agg(pl.col("values").sum())
    by_shard = dict(sizes.iter_rows())
    starts = [FIRST_FREE + rules.oov_buckets]
    for shard in range(shards):
        starts.append(starts[-1] + by_shard.get(shard, 0))
    return Layout(shards, tuple(starts), values, distinct)


def kept(cut: Cut) -> pl.Expr:
    """Whether a row of columns count and order is among the values that a cut leaves."""
    count = pl.col("count")
    above = count > cut.border
    if cut.last is None:
        return above
    return above | ((count == cut.border) & (pl.col("order") <= pl.lit(cut.last)))
