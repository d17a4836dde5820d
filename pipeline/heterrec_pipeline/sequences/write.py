"""Write the sequence shards, the item counts and the items' first times."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.files.shards import Written, new_shard
from heterrec_pipeline.interactions.read import LOG_SEEN
from heterrec_pipeline.items.cuts import positions
from heterrec_pipeline.job import Job
from heterrec_pipeline.sequences.split import FIRST_INTERACTION, ITEM_COUNTS, RANGE_ITEMS
from heterrec_pipeline.statistics.bins import binned
from heterrec_pipeline.wiring.reports import quiet_count, report_count, report_file
from heterrec_schemas.feature_spec import FeatureSpec, Temporal
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tables import (
    FIRST_INTERACTION_SCHEMA,
    ITEM_COUNTS_SCHEMA,
    ITEM_TIMES,
    WIDE_ROW_GROUP,
    sequences_schema,
    shard_name,
    with_metadata,
)
from heterrec_schemas.tokens import MISSING
from heterrec_schemas.values import Seen

PLAIN = ("user_id", "timestamp_ms", "target_timestamp_ms")
"""Columns written without a dictionary: their values hardly repeat within a page."""
NEVER = np.iinfo(np.int64).max
"""Time in ms of an item that does not occur."""


class ItemTokens(NamedTuple):
    """The tokens of the items that histories refer to.

    Attributes:
        ids: [N] their item_index, ascending.
        rows: N + 1 rows of tokens; the last one is for items outside the catalogue.
    """

    ids: npt.NDArray[np.int64]
    rows: pa.Table


def write_sequence_shard(
    job: Job,
    element: tuple[tuple[str, int], Iterable[TableRef | None]],
    seen: dict[str, int],
    user_fitted: dict[str, Fitted],
    item_fitted: dict[str, Fitted],
    items: Iterable[Written],
) -> Iterator[Any]:
    """All parts of a split's shard to its Parquet file."""
    (split, shard), parts = element
    spec = job.spec
    integral = Seen(seen.get(LOG_SEEN, 0)).integral
    entries = _entries(spec, item_fitted, user_fitted)
    schema = sequences_schema(spec, split, integral=integral, entries=entries)
    shards = spec.output.sequence_shards
    path = f"sequences/{shard_name(split, shard, shards)}"
    tokens = item_tokens(job, items) if spec.output.layout == "flattened" else None
    done: list[Written] = []
    with new_shard(
        job.root, path, schema, row_group=WIDE_ROW_GROUP, plain=PLAIN, done=done
    ) as sink:
        for part in sorted(p for p in parts if p is not None):
            rows = load(part)
            sink.write(finished(rows, schema, tokens))
    yield report_count(f"sequences.{split}", done[0].rows)
    yield report_file(done[0])


def _entries(
    spec: FeatureSpec, item_fitted: dict[str, Fitted], user_fitted: dict[str, Fitted]
) -> list[FeatureEntry]:
    """The features whose tokens the shard contains."""
    entries = []
    if spec.output.layout == "flattened":
        entries += [f.entry("item", item_fitted[f.name].size) for f in spec.items.features]
    return entries + [f.entry("user", user_fitted[f.name].size) for f in spec.user_features]


def finished(rows: pa.Table, schema: pa.Schema, tokens: ItemTokens | None) -> pa.Table:
    """A part's rows with the shard's columns and types."""
    columns: list[Any] = []
    for field in schema:
        if field.name == "user_id" and field.type == pa.int64():
            columns.append(pl.Series(rows["user_id"]).cast(pl.Int64).to_arrow())
        elif tokens is not None and field.name.startswith("item_") and field.name != "item_index":
            columns.append(flattened(rows["item_index"].combine_chunks(), tokens, field.name[5:]))
        else:
            columns.append(rows[field.name])
    return pa.table(
        [c.cast(f.type) if c.type != f.type else c for c, f in zip(columns, schema, strict=True)],
        schema=schema,
    )


def flattened(items: pa.ListArray, tokens: ItemTokens, feature: str) -> pa.ListArray:
    """The tokens of every item of a history."""
    at = positions(tokens.ids, items.flatten().to_numpy())
    taken = tokens.rows[feature].take(pa.array(at))
    return pa.ListArray.from_arrays(_from_zero(items), taken.combine_chunks())


def _from_zero(items: pa.ListArray) -> pa.Array:
    offsets = items.offsets.to_numpy()
    return pa.array((offsets - offsets[0]).astype(np.int32))


def item_tokens(job: Job, items: Iterable[Written]) -> ItemTokens:
    """The tokens of all items, those of retired ones included."""
    paths = tuple(f.temporary for f in sorted(items, key=lambda f: f.path))
    return _item_tokens(paths, tuple(f.name for f in job.spec.items.features))


@lru_cache(maxsize=1)
def _item_tokens(paths: tuple[str, ...], names: tuple[str, ...]) -> ItemTokens:
    tables = []
    for path in paths:
        with storage.open_arrow(path) as handle:
            tables.append(pq.read_table(handle, columns=["item_index", *names]))
    whole = pa.concat_tables(tables)
    ids = whole["item_index"].to_numpy()
    whole = whole.select(list(names))
    if (np.diff(ids) < 0).any():  # retired items follow the others
        order = np.argsort(ids)
        ids, whole = ids[order], whole.take(pa.array(order))
    last = pa.table(
        [pa.array([_missing(f.type)], f.type) for f in whole.schema], schema=whole.schema
    )
    return ItemTokens(ids, pa.concat_tables([whole, last]).combine_chunks())


def _missing(kind: pa.DataType) -> int | list[int]:
    """The tokens of an item outside the catalogue, by the type of the column."""
    if pa.types.is_fixed_size_list(kind):
        return [MISSING] * kind.list_size
    return [MISSING] if pa.types.is_list(kind) else MISSING


def sum_counts(
    job: Job, element: tuple[int, dict[str, Iterable[pa.Table | TableRef]]]
) -> Iterator[Any]:
    """All train counts and times of a range of items to parts with each item once, ascending.

    Yields:
        A part of train counts and, of a temporal split, one of first times; `TableRef.table` names which.
    """
    items, pieces = element
    counts, times = added_up(items * RANGE_ITEMS, (load(p) for p in pieces[ITEM_COUNTS]))
    for first, items_of_bin in binned(counts["train_count"].to_numpy()):
        yield quiet_count(f"train_counts.{first}", items_of_bin)
    yield 0, TableRef(items, ITEM_COUNTS, write_parts(job.parts, ITEM_COUNTS, [counts]), 0)
    if times is not None:
        path = write_parts(job.parts, FIRST_INTERACTION, [times])
        yield 0, TableRef(items, FIRST_INTERACTION, path, 0)


def added_up(first: int, pieces: Iterable[pa.Table]) -> tuple[pa.Table, pa.Table | None]:
    """The sums of counts, and the first times, ascending by item.

    Args:
        first: the first of RANGE_ITEMS consecutive items.
        pieces: tables of counts and, of a temporal split, times, each item at most once per table; one table is in memory
            at a time.

    Returns:
        item_index, train_count of the items with a count; item_index, first_ms of all items, None without times.
    """
    totals = np.zeros(RANGE_ITEMS, dtype=np.int64)
    earliest: npt.NDArray[np.int64] | None = None
    for piece in pieces:
        at = piece["item_index"].to_numpy() - first
        totals[at] += piece["train_count"].to_numpy()
        if "first_ms" in piece.column_names:
            if earliest is None:
                earliest = np.full(RANGE_ITEMS, NEVER, dtype=np.int64)
            earliest[at] = np.minimum(earliest[at], piece["first_ms"].to_numpy())
    (counted,) = np.nonzero(totals)
    counts = pa.table(
        {"item_index": counted + first, "train_count": totals[counted]}, schema=ITEM_COUNTS_SCHEMA
    )
    if earliest is None:
        return counts, None
    (timed,) = np.nonzero(earliest < NEVER)
    times = {"item_index": timed + first, "first_ms": earliest[timed]}
    return counts, pa.table(times, schema=FIRST_INTERACTION_SCHEMA)


def write_item_counts(job: Job, element: tuple[int, Iterable[TableRef | None]]) -> Iterator[Any]:
    """The train counts of all ranges to one file and, of a temporal split, the first times to another."""
    tables = [("item_counts", ITEM_COUNTS, ITEM_COUNTS_SCHEMA)]
    if isinstance(job.spec.split, Temporal):
        tables.append((ITEM_TIMES, FIRST_INTERACTION, FIRST_INTERACTION_SCHEMA))
    parts = sorted(p for p in element[1] if p is not None)
    for folder, name, plain in tables:
        schema = with_metadata(plain, name)
        path = f"{folder}/{shard_name(name, 0, 1)}"
        done: list[Written] = []
        with new_shard(job.root, path, schema, plain=("item_index",), done=done) as sink:
            for part in parts:
                if part.table == name:
                    sink.write(load(part).cast(schema))
        yield report_file(done[0])
