"""Count the values of a vocabulary bucket by bucket, and find the values that `max_size` keeps."""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.files.parts import TableRef, load, store, stored_batches
from heterrec_pipeline.job import Job
from heterrec_pipeline.vocabularies.known import KNOWN, split_known
from heterrec_pipeline.vocabularies.layout import (
    BY_COUNT,
    BY_REMAINDER,
    DISTINCT,
    ERASED,
    FIGURES,
    Cut,
    Rules,
    cut_at,
    figures,
    kept,
)
from heterrec_pipeline.vocabularies.merge import ORDER, RANK, merged
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.values import Seen

FIGURES_TAG = "figures"
KNOWN_ROWS = "known"
"""Names the known rows among the pieces of a bucket."""
BATCH_ROWS = 2**14
"""Rows per batch of a sorted bucket: one batch of each bucket is in memory while a shard is merged."""
SUM_ROWS = 2**18
"""Minimum number of buffered partial counts that are added up at a time."""
_BEFORE_COUNTS = -(2**62)
"""Rank of the id 0: below that of every count."""


def ordered(rows: pl.DataFrame, integral: bool) -> pl.DataFrame:
    """Add RANK and ORDER to columns value and count: descending count, then value; before them known rows by id."""
    order = pl.col("value").cast(pl.Int64) if integral else pl.col("value")
    rank = -pl.col("count")
    if "id" in rows.columns:
        rank = pl.coalesce(pl.col("id") + _BEFORE_COUNTS, rank)
        order = order.fill_null(0 if integral else "")
    return rows.with_columns(rank.alias(RANK), order.alias(ORDER))


def is_integral(rules: Rules, seen: dict[str, int]) -> bool:
    """Whether the values of a vocabulary are ordered and stored as integers; once text, they remain text."""
    kinds = Seen(seen.get(rules.name, 0))
    if rules.known is None:
        return kinds.integral
    return rules.known.integral and kinds in (Seen.NOTHING, Seen.WHOLE)


def sort_bucket(
    job: Job,
    rules: Rules,
    bucket: int,
    counts: pl.DataFrame,
    seen: dict[str, int],
    known: Iterable[pa.Table | TableRef] = (),
) -> Iterator[Any]:
    """Sort and store the distinct values of a bucket.

    Args:
        job: the build.
        rules: the vocabulary.
        bucket: number of the bucket.
        counts: columns value (distinct texts) and count (int64).
        seen: kinds of values by vocabulary.
        known: the known rows of the bucket.

    Yields:
        ((vocabulary, bucket), stored table of value, count, hash and, if there are any, the columns of known rows); the
        bucket's figures, tagged `FIGURES_TAG`.
    """
    reported = [
        pl.DataFrame([(rules.name, DISTINCT, 0, len(counts))], schema=FIGURES, orient="row")
    ]
    if not rules.has_ids:
        yield TaggedOutput(FIGURES_TAG, reported[0].to_arrow())
        return
    old, rows = None, counts
    if rules.known is not None:
        rows_known = pl.concat(
            [pl.DataFrame(schema=KNOWN), *(as_frame(load(t)) for t in known)], how="diagonal"
        )
        old, rows = split_known(counts, rows_known, job.erased_values(rules.name))
        gone = [(rules.name, ERASED, 0, old["value"].null_count())]
        reported.append(pl.DataFrame(gone, schema=FIGURES, orient="row"))
    rows = rows.filter(pl.col("count") >= rules.min_count)
    rows = rows.with_columns(hash=hash_texts(rows["value"]))
    rows = ordered(rows, is_integral(rules, seen)).sort(RANK, ORDER)
    if rules.max_size is not None:  # a bucket cannot contribute more than that
        rows = rows.head(rules.max_size)
    if rules.limited:
        reported.append(figures(rules.name, BY_COUNT, rows["count"]))
    else:
        reported.append(figures(rules.name, BY_REMAINDER, rows["hash"] % rules.modulus))
    yield TaggedOutput(FIGURES_TAG, pl.concat(reported).to_arrow())
    rows = rows.select("value", "count", "hash")
    if old is not None:
        rows = pl.concat([old, rows], how="diagonal")
    if len(rows):
        table = rows.to_arrow()
        stem = "values-" + rules.name.replace("/", "-")
        yield (rules.name, bucket), store(job.parts, stem, table, batch=BATCH_ROWS)


def count_bucket(
    job: Job,
    rules: dict[str, Rules],
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Add up the partial counts of a bucket; yields the outputs of `sort_bucket`."""
    (name, bucket), pieces = element
    total = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
    buffer: list[pl.DataFrame] = []
    for piece in pieces["values"]:
        buffer.append(as_frame(load(piece)))
        if sum(map(len, buffer)) >= max(len(total), SUM_ROWS):
            total, buffer = _summed([total, *buffer]), []
    counts = _summed([total, *buffer])
    yield from sort_bucket(job, rules[name], bucket, counts, seen, pieces.get(KNOWN_ROWS, ()))


def _summed(counts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(counts).group_by("value").agg(pl.col("count").sum())


def batches(
    stored: TableRef, integral: bool, cut: Cut, modulus: int, remainder: int
) -> Iterator[pl.DataFrame]:
    """The rows of a sorted bucket that a cut keeps and whose hash has a remainder, batch by batch, with RANK and ORDER."""
    for table in stored_batches(stored):
        rows = as_frame(table)
        if modulus > 1:
            rows = rows.filter(pl.col("hash") % modulus == remainder)
        rows = ordered(rows, integral)
        if cut.border:
            known = [pl.col("id").is_not_null()] if "id" in rows.columns else []
            rows = rows.filter(pl.any_horizontal(kept(cut), *known))
        if len(rows):
            yield rows


def find_size_cuts(
    rules: dict[str, Rules], element: tuple[int, Iterable[pa.Table]]
) -> Iterator[tuple[str, Cut]]:
    """All figures to (vocabulary, `Cut`) of the limited vocabularies; `last` is not known yet."""
    counted = all_figures(element[1])
    for name, rule in rules.items():
        if rule.limited:
            assert rule.max_size is not None
            mine = (pl.col("vocabulary") == name) & (pl.col("figure") == BY_COUNT)
            yield name, cut_at(counted.filter(mine).select("key", "values"), rule.max_size)


def all_figures(tables: Iterable[pa.Table]) -> pl.DataFrame:
    """The figures of all buckets."""
    return pl.concat([pl.DataFrame(schema=FIGURES), *map(as_frame, tables_in(tables))])


def find_last_kept(
    rules: dict[str, Rules],
    element: tuple[str, Iterable[TableRef | None]],
    cuts: dict[str, Cut],
    seen: dict[str, int],
) -> Iterator[tuple[str, Cut]]:
    """Complete the cut of a vocabulary: merge the values at the border of all its sorted buckets until enough are found."""
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
        rows = new_values(rows)
        tied = rows.filter(pl.col("count") == count)
        if len(tied):
            yield tied
        if len(rows) and rows["count"][-1] < count:
            return


def new_values(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a sorted bucket whose values have no id yet."""
    return rows.filter(pl.col("id").is_null()) if "id" in rows.columns else rows


def measure_bucket(
    rules: dict[str, Rules],
    element: tuple[BucketKey, TableRef],
    cuts: dict[str, Cut],
    seen: dict[str, int],
) -> Iterator[pa.Table]:
    """The figures of a sorted bucket after the cut: kept values by remainder."""
    (name, _), stored = element
    rule = rules[name]
    kept_figures = [
        figures(name, BY_REMAINDER, new_values(rows)["hash"] % rule.modulus)
        for rows in batches(stored, is_integral(rule, seen), cuts[name], 1, 0)
    ]
    if kept_figures:
        yield pl.concat(kept_figures).to_arrow()
