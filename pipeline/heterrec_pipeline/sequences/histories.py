"""Rows by user to whole histories: sorted, deduplicated, without short users.

A bucket is a range of user hashes within one sequence shard. The number of buckets never changes a byte.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.interactions.times import day_of
from heterrec_pipeline.job import Job
from heterrec_pipeline.statistics.bins import binned
from heterrec_pipeline.wiring.cut import range_numbers
from heterrec_pipeline.wiring.reports import quiet_count, report_count
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import hash_column

DAYS = "days"


def cut_by_user(shards: int, ranges: int, tables: list[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Cut tables with a user column into buckets, R = `ranges` for each of M = `shards` shards: (bucket, table)."""
    whole = pa.concat_tables(tables)
    numbers = range_numbers(pl.Series(whole["user"]).cast(pl.String), shards, ranges)
    frame = pl.DataFrame(pl.from_arrow(whole)).with_columns(bucket=numbers)
    for piece in frame.partition_by("bucket"):
        yield int(piece["bucket"][0]), slim(piece.drop("bucket").to_arrow(), whole.schema)


def slim(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the schema's types, but with 32-bit offsets and item ids: local engines keep it in memory."""
    narrow = {"user": pa.string(), "item_index": pa.int32()}
    return table.cast(pa.schema([pa.field(f.name, narrow.get(f.name, f.type)) for f in schema]))


def sort_rows(spec: FeatureSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Sort rows by user hash, user, time, order (missing last), tie; item_index makes the order total."""
    rows = rows.with_columns(user_hash=hash_column("user"))
    order = spec.interactions.order
    # `nulls_last` would make the sort of all keys several times slower.
    missing_last = [pl.col("order").is_null(), pl.col("order").fill_null(0)] if order else []
    keys = [pl.col("time"), *missing_last, pl.col("tie"), pl.col("item_index")]
    ordered = rows.sort("user_hash", *keys)
    # Sorting texts is slow, and two users with one hash are very rare: sort by user only if they occur.
    same_hash = ordered["user_hash"] == ordered["user_hash"].shift(1)
    if (same_hash & (ordered["user"] != ordered["user"].shift(1))).any():
        ordered = rows.sort("user_hash", "user", *keys)
    return ordered


def deduplicate(spec: FeatureSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Drop repeated events, then rows according to `sequences.deduplicate`; `rows` are sorted and stay sorted."""
    how = spec.sequences.deduplicate
    if spec.interactions.event_id is not None:
        first = pl.struct("user", "event").is_first_distinct()
        rows = rows.filter(first | pl.col("event").is_null())
    if how == "none" or rows.is_empty():
        return rows
    item = ["item_index", *(["item_hash"] if "item_hash" in rows.columns else [])]
    same = ["user", *item, *(["behaviour"] if spec.interactions.behaviour else [])]
    if spec.interactions.order is None:
        # Equal rows have equal tie hashes, so they are neighbours.
        rows = rows.filter(~_repeats(["time", *same]))
    else:
        rows = rows.unique([*same, "time"], keep="first", maintain_order=True)
    return rows.filter(~_repeats(same)) if how == "consecutive" else rows


def _repeats(columns: list[str]) -> pl.Expr:
    return pl.all_horizontal(pl.col(c) == pl.col(c).shift(1) for c in columns).fill_null(False)


def histories(spec: FeatureSpec, rows: pl.DataFrame) -> tuple[pa.Table, dict[str, int]]:
    """The whole histories of a bucket's users.

    Args:
        spec: the spec.
        rows: the bucket's rows, in any order.

    Returns:
        One row per kept user, by (hash, user): user, and lists item_index, time, behaviour (if declared); and the number
        of rows that are kept, duplicate, and of short users.
    """
    kept = deduplicate(spec, sort_rows(spec, rows))
    duplicate = len(rows) - len(kept)
    user = kept["user"]
    starts = np.flatnonzero(((user != user.shift(1)) | user.shift(1).is_null()).to_numpy())
    lengths = np.diff(np.append(starts, len(kept)))
    long = lengths >= spec.sequences.min_length
    short = int(lengths[~long].sum())
    if not long.all():
        kept = kept.filter(pl.Series(np.repeat(long, lengths)))
    lists = ["item_index", "time", *(["behaviour"] if spec.interactions.behaviour else [])]
    offsets = pa.array(np.append(0, np.cumsum(lengths[long])).astype(np.int32))
    columns = [user.gather(starts[long]).to_arrow().cast(pa.string())]
    kinds = {"item_index": pl.Int64}
    for c in lists:
        flat = kept[c].cast(kinds.get(c, kept[c].dtype)).to_arrow()
        columns.append(pa.ListArray.from_arrays(offsets, flat))
    counts = {"kept": len(kept), "duplicate": duplicate, "short_user": short}
    return pa.table(columns, names=["user", *lists]), counts


def day_counts(kept: pa.Table) -> pa.Table:
    """Number of interactions per day: day (int64, since 1970-01-01), count (int64)."""
    times = kept["time"].combine_chunks().flatten().to_numpy()
    days, counts = np.unique(day_of(times), return_counts=True)
    return pa.table({"day": days.astype(np.int64), "count": counts.astype(np.int64)})


def with_user_tokens(kept: pa.Table, tokens: list[pa.Table], missing: pa.Table) -> pa.Table:
    """Add users' tokens to their histories; `missing` is the row of a user without tokens."""
    names = missing.column_names
    known = pa.concat_tables([*tokens, missing.add_column(0, "user", pa.array([""]))])
    at = pl.DataFrame({"user": pl.Series(known["user"])}).with_row_index("at")
    found = pl.DataFrame({"user": pl.Series(kept["user"])}).join(
        at, on="user", how="left", maintain_order="left"
    )
    rows = known.select(names).take(found["at"].fill_null(len(known) - 1).to_arrow())
    for name in names:
        kept = kept.append_column(name, rows[name])
    return kept


def missing_user(spec: FeatureSpec) -> pa.Table | None:
    """One row with the tokens of a user that the user table lacks; None if the spec declares no user features."""
    if not spec.user_features:
        return None
    return pa.table(
        {f"user_{f.name}": pa.array([f.missing_tokens], f.token_type) for f in spec.user_features}
    )


def build_histories(
    job: Job,
    missing: pa.Table | None,
    element: tuple[int, dict[str, Iterable[pa.Table | TableRef]]],
    _checked: Any = None,
) -> Iterator[Any]:
    """A bucket's rows and users' tokens to a part of whole histories: (bucket, part)."""
    bucket, grouped = element
    frames = [pl.DataFrame(pl.from_arrow(load(t))) for t in grouped["log"]]
    if not frames:
        return
    rows = pl.concat(frames)
    del frames
    kept, counts = histories(job.spec, rows)
    del rows
    for name, count in counts.items():
        yield report_count(f"interactions.{name}", count)
    if missing is not None:
        tokens = [load(t) for t in grouped.get("users", ())]
        kept = with_user_tokens(kept, tokens, missing)
    yield beam.pvalue.TaggedOutput(DAYS, day_counts(kept))
    lengths = pc.list_value_length(kept["time"]).to_numpy().astype(np.int64)
    yield from (quiet_count(f"lengths.{first}", count) for first, count in binned(lengths))
    path = write_parts(job.parts, "histories", [kept])
    yield bucket, TableRef(bucket % job.buckets, "histories", path, 0)
