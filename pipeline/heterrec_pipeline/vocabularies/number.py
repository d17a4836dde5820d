"""The workers of a large vocabulary: count a bucket, measure it, merge a group of buckets, give ids, write shards."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.categorical import all_missing
from heterrec_pipeline.features.fitted import Fitted, fit_details
from heterrec_pipeline.files.parts import TableRef, load, store, stored_batches, write_parts
from heterrec_pipeline.files.shards import Written, new_shard
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.vocabularies.layout import (
    BY_COUNT,
    BY_REMAINDER,
    DISTINCT,
    FIGURES,
    Cut,
    Layout,
    Rules,
    cut_at,
    figures,
    kept,
    lay_out,
)
from heterrec_pipeline.vocabularies.merge import ORDER, RANK, merged
from heterrec_pipeline.vocabularies.write import vocabulary_rows
from heterrec_pipeline.wiring.cut import FLUSH_BYTES, BucketKey, as_frame, cut_by_bucket
from heterrec_pipeline.wiring.reports import report_file
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import DataError
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tables import shard_name, vocabulary_schema
from heterrec_schemas.values import Seen

FIGURES_TAG = "figures"
BATCH_ROWS = 2**14
"""Rows of a batch of a sorted bucket: so many of each bucket are in memory while a shard is merged."""


def ordered(rows: pl.DataFrame, integral: bool) -> pl.DataFrame:
    """Columns value, count and hash with RANK and ORDER: descending count, then value."""
    order = pl.col("value").cast(pl.Int64) if integral else pl.col("value")
    return rows.with_columns((-pl.col("count")).alias(RANK), order.alias(ORDER))


def is_integral(rules: Rules, seen: dict[str, int]) -> bool:
    """Whether the values of a vocabulary are ordered and stored as integers."""
    return Seen(seen.get(rules.name, 0)).integral


class SortedBucket:
    """The distinct values of a bucket, sorted and stored; makes what a step hands on."""

    def __init__(self, job: Job, rules: Rules, seen: dict[str, int]) -> None:
        """Sort by the kinds of values that were seen."""
        self.job, self.rules, self.integral = job, rules, is_integral(rules, seen)

    def outputs(self, bucket: int, counts: pl.DataFrame) -> Iterator[Any]:
        """Store a bucket and report its figures.

        Args:
            bucket: its number.
            counts: columns value (distinct texts) and count (int64).
        """
        rules = self.rules
        rows = counts.filter(pl.col("count") >= rules.min_count)
        rows = ordered(rows.with_columns(hash=hash_texts(rows["value"])), self.integral)
        rows = rows.sort(RANK, ORDER).select("value", "count", "hash")
        found = [
            pl.DataFrame([(rules.name, DISTINCT, 0, len(counts))], schema=FIGURES, orient="row")
        ]
        if rules.max_size is None:
            found.append(figures(rules.name, BY_REMAINDER, rows["hash"] % rules.modulus))
        else:
            found.append(figures(rules.name, BY_COUNT, rows["count"]))
        yield TaggedOutput(FIGURES_TAG, pl.concat(found).to_arrow())
        if len(rows):
            stem = "values-" + rules.name.replace("/", "-")
            table = rows.to_arrow()
            yield (rules.name, bucket), store(self.job.parts, stem, table, batch=BATCH_ROWS)


def count_bucket(
    job: Job,
    rules: dict[str, Rules],
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Partial counts of a bucket to its sorted values: ((vocabulary, bucket), stored), and figures."""
    (name, bucket), pieces = element
    whole = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
    waiting: list[pl.DataFrame] = []
    for piece in pieces["values"]:
        waiting.append(as_frame(load(piece)))
        if sum(map(len, waiting)) >= max(len(whole), 2**18):
            whole, waiting = _summed([whole, *waiting]), []
    yield from SortedBucket(job, rules[name], seen).outputs(bucket, _summed([whole, *waiting]))


def _summed(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("value").agg(pl.col("count").sum())


def batches(
    stored: TableRef, integral: bool, cut: Cut, modulus: int, remainder: int
) -> Iterator[pl.DataFrame]:
    """The rows of a sorted bucket that a cut leaves and whose hash has a remainder, batch by batch, with RANK and ORDER."""
    for table in stored_batches(stored):
        rows = as_frame(table)
        if modulus > 1:
            rows = rows.filter(pl.col("hash") % modulus == remainder)
        rows = ordered(rows, integral)
        if cut.border:
            rows = rows.filter(kept(cut))
        if len(rows):
            yield rows


def find_size_cuts(
    rules: dict[str, Rules], element: tuple[int, Iterable[pa.Table]]
) -> Iterator[tuple[str, Cut]]:
    """All figures to (vocabulary, `Cut`) of those vocabularies that `max_size` limits; `last` is not yet known."""
    found = all_figures(element[1])
    for name, own in rules.items():
        if own.max_size is not None:
            mine = (pl.col("vocabulary") == name) & (pl.col("figure") == BY_COUNT)
            yield name, cut_at(found.filter(mine).select("key", "values"), own.max_size)


def all_figures(tables: Iterable[pa.Table]) -> pl.DataFrame:
    """The figures of all buckets."""
    return pl.concat([pl.DataFrame(schema=FIGURES), *map(as_frame, tables_in(tables))])


def find_last_kept(
    rules: dict[str, Rules],
    element: tuple[str, Iterable[TableRef | None]],
    cuts: dict[str, Cut],
    seen: dict[str, int],
) -> Iterator[tuple[str, Cut]]:
    """All sorted buckets of a vocabulary to its cut: merges the values of the border until enough are found."""
    name, parts = element
    cut = cuts[name]
    if cut.tied == 0:
        yield name, cut
        return
    integral = is_integral(rules[name], seen)
    left = cut.tied
    for rows in merged(_border(p, integral, cut.border) for p in parts if p is not None):
        if len(rows) >= left:
            yield name, cut._replace(last=rows[ORDER][left - 1])
            return
        left -= len(rows)
    raise AssertionError(f"{name}: fewer values at the border {cut.border} than were counted")


def _border(stored: TableRef, integral: bool, count: int) -> Iterator[pl.DataFrame]:
    for rows in batches(stored, integral, Cut(), 1, 0):
        tied = rows.filter(pl.col("count") == count)
        if len(tied):
            yield tied
        if rows["count"][-1] < count:
            return


def measure_bucket(
    rules: dict[str, Rules],
    element: tuple[BucketKey, TableRef],
    cuts: dict[str, Cut],
    seen: dict[str, int],
) -> Iterator[pa.Table]:
    """Sorted buckets of cut vocabularies to figures: what the cut leaves, by remainder."""
    (name, _), stored = element
    own = rules[name]
    found = [
        figures(name, BY_REMAINDER, rows["hash"] % own.modulus)
        for rows in batches(stored, is_integral(own, seen), cuts[name], 1, 0)
    ]
    if found:
        yield pl.concat(found).to_arrow()


def lay_out_vocabularies(
    rules: dict[str, Rules], element: tuple[int, Iterable[pa.Table]]
) -> Iterator[tuple[str, Layout]]:
    """All figures to (vocabulary, `Layout`)."""
    found = all_figures(element[1])
    for name, own in rules.items():
        layout = lay_out(own, found.filter(pl.col("vocabulary") == name))
        if layout.distinct == 0:
            if own.feature is None:
                raise no_keys(own.table, [])
            raise all_missing(own.feature.name, own.feature.column, own.table.name)
        yield name, layout


def to_group(
    rules: dict[str, Rules], element: tuple[BucketKey, TableRef], layouts: dict[str, Layout]
) -> Iterator[tuple[BucketKey, TableRef]]:
    """Sorted buckets to the groups that are numbered together: the buckets of a shard, or a bucket that is some shards."""
    (name, bucket), stored = element
    groups = min(layouts[name].shards, rules[name].buckets)
    yield (name, bucket % groups), stored


def number_group(
    job: Job,
    rules: dict[str, Rules],
    element: tuple[BucketKey, Iterable[TableRef | None]],
    layouts: dict[str, Layout],
    cuts: dict[str, Cut],
    seen: dict[str, int],
) -> Iterator[Any]:
    """A group's sorted buckets to written vocabulary shards, and ((vocabulary, bucket), part) of its values and ids."""
    (name, group), parts = element
    own, layout = rules[name], layouts[name]
    if group >= layout.shards:
        return
    buckets = sorted(p for p in parts if p is not None)
    integral = is_integral(own, seen)
    waiting = Waiting(job, own)
    for shard in range(group, layout.shards, min(layout.shards, own.buckets)):
        streams = (
            batches(b, integral, cuts.get(name, Cut()), layout.shards, shard) for b in buckets
        )
        done: list[Written] = []
        for rows in _number_shard(job, own, layout, shard, integral, merged(streams), done):
            yield from waiting.add(rows)
        yield report_file(done[0])
    yield from waiting.flush()


def _number_shard(
    job: Job,
    rules: Rules,
    layout: Layout,
    shard: int,
    integral: bool,
    values: Iterator[pl.DataFrame],
    done: list[Written],
) -> Iterator[pl.DataFrame]:
    """Write a shard; yields its rows with their ids."""
    stem, details = fit_details(rules.table, rules.feature, layout.size)
    schema = vocabulary_schema(
        integral,
        feature=stem,
        vocabulary_shards=layout.shards,
        oov_buckets=rules.oov_buckets,
        **details,
    )
    path = f"vocabularies/{shard_name(stem, shard, layout.shards)}"
    first = layout.starts[shard]
    with new_shard(job.root, path, schema, plain=("id", "value"), done=done) as sink:
        for rows in values:
            ids = pl.Series("id", np.arange(first, first + len(rows)))
            rows = rows.with_columns(ids)
            first += len(rows)
            sink.write(vocabulary_rows(rows, schema))
            yield rows
    assert first == layout.starts[shard + 1], (rules.name, shard)


class Waiting:
    """Numbered values until there are enough for a file; then ((vocabulary, bucket), part) of value and id."""

    def __init__(self, job: Job, rules: Rules) -> None:
        """Wait for one vocabulary."""
        self.job, self.rules = job, rules
        self.tables: list[pl.DataFrame] = []
        self.bytes = 0.0

    def add(self, rows: pl.DataFrame) -> Iterator[tuple[BucketKey, TableRef]]:
        """Add numbered values."""
        self.tables.append(rows.select("value", "id", "hash"))
        self.bytes += self.tables[-1].estimated_size()
        if self.bytes >= FLUSH_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[BucketKey, TableRef]]:
        """Write what waits, a batch a bucket."""
        tables, self.tables, self.bytes = self.tables, [], 0.0
        if not tables:
            return
        whole = pl.concat(tables)
        numbers = (whole["hash"] % self.rules.buckets).cast(pl.Int64)
        pieces = list(cut_by_bucket(whole.select("value", "id").to_arrow(), numbers))
        stem = "ids-" + self.rules.name.replace("/", "-")
        path = write_parts(self.job.parts, stem, [piece for _, piece in pieces])
        for batch, (bucket, _) in enumerate(pieces):
            yield (self.rules.name, bucket), TableRef(0, self.rules.name, path, batch)


def fitted_size_of(
    rules: dict[str, Rules], element: tuple[str, Layout]
) -> Iterator[tuple[str, Fitted]]:
    """Layouts of features to (feature, `Fitted`) without a table: their ids are looked up by bucket."""
    name, layout = element
    feature = rules[name].feature
    assert feature is not None
    yield feature.name, Fitted(None, layout.size)


WHY = b"heterrec_why"
"""In a schema's metadata: why a batch has no row with a key, by example."""


def no_keys(table: TableJob, tables: Iterable[pa.Table]) -> DataError:
    """The error of a feature table without a single usable row; names one of the rows that were set aside."""
    names = [f.name for f in table.files]
    where = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "the log"
    about = [t.schema.metadata or {} for t in tables]
    whys = sorted(m[WHY].decode() for m in about if WHY in m)
    return DataError(
        f"{table.name}: the table holds no row with a key",
        got=f"no usable row in {where}" + (f" ({whys[0]})" if whys else ""),
        expected=f"rows with a value in column {table.key!r}",
        todo="Check source.path and key in the spec.",
    )
