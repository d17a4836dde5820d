"""How large keys and vocabularies are reckoned to be before anything is built, and which way they take because of it.

A **vocabulary** is a set of distinct texts: `items` and `users` are the keys of a side, `item/<feature>` and
`user/<feature>` the values of a categorical feature. Up to `limits.broadcast_values` of them go to every worker as one
table, which a process loads once. Above it they are cut into **buckets** by hash, each worker sees a bucket at a time,
and whatever needs ids is sent to the bucket that has them. Both ways give the same bytes: a wrong guess costs memory or
time, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    Limits,
)

VALUES_PER_BUCKET = 2**20
"""About how many distinct texts one bucket should hold: some 200 MB while it is counted or numbered."""
MAX_BUCKETS = 2**12
"""More buckets would make pieces so small that their own overhead is most of them."""
ITEMS_FROM_LOG_ROWS = 2_000_000
"""About how many rows of a denormalised log a worker should turn into items at a time."""

FLATTENED_BYTES = 4 * 2**30
"""What a worker may hold of item tokens under `layout: flattened`."""
MANY_VALUES = 8
"""About how many values a multivalued cell holds where nothing else is known."""

Basis = Literal["read", "bytes", "bound", "sample"]


@dataclass(frozen=True)
class Estimate:
    """A number of rows or of distinct values, told before they are read.

    Attributes:
        count: the number.
        basis: where it comes from. `read`: Parquet footers; exact. `bytes`: the bytes of the files over those of a row at
            their beginnings; about right. `bound`: a table cannot have more distinct values than cells; often far more
            than there are. `sample`: distinct values of a sample, and for the cells beyond it as many new ones as its
            values that stand there once would make (Good and Turing); too many rather than too few, as long as the rows
            are not sorted by this column.
    """

    count: int
    basis: Basis


@dataclass(frozen=True)
class Sizes:
    """What a build reckons with.

    Attributes:
        limit: `limits.broadcast_values`: of more distinct values no worker holds all.
        rows: by table (items, items.joins[k], users, interactions), how many rows it has.
        values: by vocabulary, how many distinct texts. `items` counts the rows of the widest of the catalogue's tables,
            since all of them are matched by key in the same way.
    """

    limit: int = Limits().broadcast_values
    rows: Mapping[str, Estimate] = field(default_factory=dict)
    values: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def all_rows(self) -> int:
        """Estimated rows of all tables together."""
        return sum(estimate.count for estimate in self.rows.values())

    def is_large(self, vocabulary: str) -> bool:
        """Whether a vocabulary goes by bucket, so that no worker holds all of it; one without an estimate does not."""
        found = self.values.get(vocabulary)
        return found is not None and found.count > self.limit

    def large(self) -> list[str]:
        """The vocabularies that go by bucket."""
        return sorted(v for v in self.values if self.is_large(v))

    def buckets(self, vocabulary: str, shards: int | None) -> int:
        """Number of buckets of a vocabulary: 1 unless it is large. Never changes a byte of the output.

        Args:
            vocabulary: name of the vocabulary.
            shards: V, where the spec declares it. Else V is a power of two, and so is the number of buckets: either way
                one of the two numbers divides the other, so that a vocabulary shard is some whole buckets, or a bucket
                some whole shards.
        """
        if not self.is_large(vocabulary):
            return 1
        found = self.values.get(vocabulary)
        return bucket_count(found.count if found else 0, shards)

    @property
    def item_buckets(self) -> int:
        """In how many pieces a denormalised log is turned into items."""
        rows = self.rows.get("interactions")
        return max(16, -(-(rows.count if rows else 0) // ITEMS_FROM_LOG_ROWS))


def bucket_count(values: int, shards: int | None) -> int:
    """Enough buckets for about `VALUES_PER_BUCKET` each; a multiple or a divisor of `shards`."""
    wanted = min(MAX_BUCKETS, max(1, -(-values // VALUES_PER_BUCKET)))
    wanted = 1 << (wanted - 1).bit_length()
    if shards is None:
        return wanted
    count = shards
    while count < wanted:
        count *= 2
    if (
        count >= 2 * wanted
    ):  # more shards than buckets are needed: put some whole shards into a bucket
        count = next(d for d in range(wanted, shards + 1) if shards % d == 0)
    return count


def check_layout(spec: FeatureSpec, sizes: Sizes) -> None:
    """Refuse `layout: flattened` for a catalogue whose tokens are too many for a worker, which holds all of them.

    Raises:
        DataError: it would take more than `FLATTENED_BYTES`.
    """
    items = sizes.values.get("items")
    if spec.output.layout != "flattened" or items is None:
        return
    taken = 4 * items.count * sum(_tokens(f) for f in spec.items.features)
    if taken > FLATTENED_BYTES:
        raise DataError(
            "output.layout: flattened lets every worker hold the tokens of all items, and these are too many",
            got=f"about {taken / 2**30:.1f} GB for {items.count:,} items",
            expected=f"at most {FLATTENED_BYTES / 2**30:.0f} GB",
            todo="Use layout: referenced, and look the tokens up by item_index.",
        )


def _tokens(feature: Feature) -> int:
    """About how many tokens one item has of a feature."""
    if isinstance(feature, EmbeddingFeature):
        return feature.groups
    if isinstance(feature, CategoricalFeature) and feature.multivalued:
        return min(feature.max_values or MANY_VALUES, MANY_VALUES)
    return 1


def distinct_bound(sampled: int, distinct: int, once: int, total: int) -> int:
    """How many distinct values `total` cells may hold, by a sample of them.

    Args:
        sampled: cells in the sample.
        distinct: distinct values among them.
        once: how many of these stand there once.
        total: cells in all.
    """
    if sampled == 0:
        return total
    return min(total, distinct + -(-once * max(0, total - sampled) // sampled))


__all__ = ["Estimate", "Sizes", "bucket_count", "check_layout", "distinct_bound"]
