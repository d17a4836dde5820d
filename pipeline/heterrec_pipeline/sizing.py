"""Estimates of the sizes of keys and vocabularies before the build, and the choices that follow from them.

A **vocabulary** is a set of distinct texts: `items` and `users` are the keys of a side, `item/<feature>` and
`user/<feature>` the values of a categorical feature. All are counted and numbered by **bucket** of their hash. A
vocabulary of up to `limits.broadcast_values` texts has one bucket, and every worker process loads its ids into memory. A
larger one has several; a worker holds one at a time, and rows are sent to the bucket that has their ids. Both give the
same bytes: a wrong estimate costs memory or time only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
"""Approximate number of distinct texts per bucket of a large vocabulary: about 200 MB while it is counted or numbered."""
MAX_BUCKETS = 2**12
"""Maximum number of buckets; pieces of more buckets would be mostly overhead."""
ITEMS_FROM_LOG_ROWS = 2_000_000
"""Approximate number of rows of a denormalised log that a worker aggregates to items at a time."""

FLATTENED_BYTES = 4 * 2**30
"""Maximum bytes of item tokens in the memory of a worker under `layout: flattened`."""
MANY_VALUES = 8
"""Assumed number of values per multivalued cell where `max_values` does not limit it further."""

Basis = Literal["read", "bytes", "bound", "sample"]


@dataclass(frozen=True)
class Estimate:
    """An estimated number of rows or of distinct values.

    Attributes:
        count: the number.
        basis: its source. `read`: Parquet footers; exact. `bytes`: bytes of the files over bytes per row at their
            beginnings; approximate. `bound`: the number of cells, which limits the number of distinct values; often far
            too high. `sample`: distinct values of a sample, plus new values in the other cells at the rate of values that
            occur once in the sample (Good-Turing); too high rather than too low, unless rows are sorted by this column.
    """

    count: int
    basis: Basis


@dataclass(frozen=True)
class Sizes:
    """Estimated sizes of the inputs of a build.

    Attributes:
        limit: `limits.broadcast_values`: maximum number of distinct values that a worker holds in memory.
        rows: number of rows by table (items, items.joins[k], users, interactions).
        values: number of distinct texts by vocabulary. That of `items` is the number of rows of the largest table of the
            catalogue, since all of them are joined by key.
    """

    limit: int = Limits().broadcast_values
    rows: Mapping[str, Estimate] = field(default_factory=dict)
    values: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def all_rows(self) -> int:
        """Estimated rows of all tables together."""
        return sum(estimate.count for estimate in self.rows.values())

    def is_large(self, vocabulary: str) -> bool:
        """Whether no worker may hold the whole vocabulary; False if there is no estimate."""
        found = self.values.get(vocabulary)
        return found is not None and found.count > self.limit

    def large(self) -> list[str]:
        """The large vocabularies."""
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
        """Number of hash buckets in which a denormalised log is aggregated to items."""
        rows = self.rows.get("interactions")
        return max(16, -(-(rows.count if rows else 0) // ITEMS_FROM_LOG_ROWS))


def with_known(sizes: Sizes, rows: Mapping[str, int]) -> Sizes:
    """Estimates that account for the vocabularies of a parent and of other systems, by their number of rows."""
    values = dict(sizes.values)
    for name, known in rows.items():
        found = values.get(name)
        if found is not None and found.count < known:
            values[name] = Estimate(known, "read")
    return replace(sizes, values=values)


def bucket_count(values: int, shards: int | None) -> int:
    """Number of buckets of about `VALUES_PER_BUCKET` texts: a multiple or a divisor of `shards`."""
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
    """Reject `layout: flattened` where the tokens of the catalogue exceed the memory of a worker, which holds all of them.

    Raises:
        DataError: the tokens exceed `FLATTENED_BYTES`.
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
    """Approximate number of tokens of a feature per item."""
    if isinstance(feature, EmbeddingFeature):
        return feature.token_count
    if isinstance(feature, CategoricalFeature) and feature.multivalued:
        return min(feature.max_values or MANY_VALUES, MANY_VALUES)
    return 1


def distinct_bound(sampled: int, distinct: int, once: int, total: int) -> int:
    """Estimate the number of distinct values in `total` cells from a sample of them.

    Args:
        sampled: number of cells in the sample.
        distinct: number of distinct values in the sample.
        once: number of values that occur once in the sample.
        total: number of cells in total.
    """
    if sampled == 0:
        return total
    return min(total, distinct + -(-once * max(0, total - sampled) // sampled))
