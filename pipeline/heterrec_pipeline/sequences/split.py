"""Histories to the rows of train, validation, test and latest.

Flat arrays throughout: E interactions of a bucket in one array, in which each of its U users owns the range
start_U .. end_U.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.job import Job
from heterrec_pipeline.sequences.cuts import Cuts
from heterrec_schemas.feature_spec import FeatureSpec, LeaveOneOut, Temporal
from heterrec_schemas.manifest import SPLITS

ITEM_COUNTS = "item_counts"
FIRST_INTERACTION = "first_interaction"
RANGE_ITEMS = 2**20
"""Number of consecutive items that one worker counts."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranges:
    """The rows of a split: their users, and their ranges of the flat arrays.

    Shapes: R rows; all int64.
    """

    user_R: Ints
    start_R: Ints
    end_R: Ints
    target_start_R: Ints
    target_end_R: Ints
    window_R: Ints


def split_ranges(
    spec: FeatureSpec, split: str, start_U: Ints, time_E: Ints, item_E: Ints, cuts: Cuts
) -> Ranges:
    """The ranges of the rows of a split, before truncation.

    Args:
        spec: the spec, for the method of the split.
        split: train, validation, test or latest.
        start_U: [U + 1] start of each user's interactions; the last entry is E.
        time_E: [E] milliseconds.
        item_E: [E] item_index.
        cuts: the two cuts of a temporal split.
    """
    start, end = start_U[:-1], start_U[1:]
    every = np.arange(len(start), dtype=np.int64)
    if split == "latest":
        return Ranges(every, start, end, end, end, np.zeros_like(every))
    history, target_end = _borders(spec, split, start_U, time_E, cuts)
    if split == "train":
        users = np.flatnonzero(history - start >= 2)
        kept = history[users]
        return Ranges(users, start[users], kept, kept, kept, np.zeros_like(users))
    long = end - start >= 3
    users = np.flatnonzero(long) if isinstance(spec.split, LeaveOneOut) else every
    return _with_targets(
        spec, users, start[users], history[users], history[users], target_end[users], item_E
    )


def _borders(
    spec: FeatureSpec, split: str, start_U: Ints, time_E: Ints, cuts: Cuts
) -> tuple[Ints, Ints]:
    """End of the history (the targets begin there) and end of the targets, per user: [U] each."""
    start, end = start_U[:-1], start_U[1:]
    if isinstance(spec.split, LeaveOneOut):
        train = np.where(end - start >= 3, end - 2, end)
        history = {"train": train, "validation": end - 2, "test": end - 1}[split]
        return history, history + 1
    assert cuts is not None or len(start) == 0
    validation_at, test_at = cuts or (0, 0)
    before_test = _first_at(start_U, time_E, test_at)
    if split == "test":
        return before_test, end
    return _first_at(start_U, time_E, validation_at), before_test


def _first_at(start_U: Ints, time_E: Ints, cut: int) -> Ints:
    """Position of the first interaction at or after a cut, per user; times ascend within a user."""
    before = np.append(0, np.cumsum(time_E < cut))
    first: Ints = start_U[:-1] + (before[start_U[1:]] - before[start_U[:-1]])
    return first


def _with_targets(
    spec: FeatureSpec, users: Ints, start: Ints, history: Ints, low: Ints, high: Ints, item_E: Ints
) -> Ranges:
    """Narrow target ranges according to `targets`; drop rows without a history or a target."""
    targets = spec.split.targets if isinstance(spec.split, Temporal) else "all"
    # Items outside the catalogue (OOV ids, negative ids of retired ones) are never targets: count the others.
    valid = np.append(0, np.cumsum(item_E >= spec.first_item_index))
    has = valid[high] > valid[low]
    users, start, history, low, high = (a[has] for a in (users, start, history, low, high))
    if targets == "next":
        first = np.searchsorted(valid, valid[low] + 1, side="left") - 1
        low, high = first, first + 1
    elif targets == "last":
        last = np.searchsorted(valid, valid[high], side="left") - 1
        low, high, history = last, last + 1, last
    full = history > start
    return Ranges(
        users[full], start[full], history[full], low[full], high[full], np.zeros_like(users[full])
    )


def truncate(spec: FeatureSpec, split: str, ranges: Ranges) -> Ranges:
    """Cut histories to their last max_length interactions, or training histories into windows, newest first."""
    limit = spec.sequences.max_length
    if split != "train" or spec.sequences.train_windows == "last":
        return replace(ranges, start_R=np.maximum(ranges.start_R, ranges.end_R - limit))
    windows = -(-(ranges.end_R - ranges.start_R) // limit)
    row = np.repeat(np.arange(len(windows)), windows)
    number = np.arange(len(row)) - np.repeat(np.cumsum(windows) - windows, windows)
    end = ranges.end_R[row] - number * limit
    start = np.maximum(ranges.start_R[row], end - limit)
    keep = (number == 0) | (end - start >= 2)
    row, number, start, end = row[keep], number[keep], start[keep], end[keep]
    return Ranges(ranges.user_R[row], start, end, end, end, number)


def gather(
    flat: pa.Array, start_R: Ints, end_R: Ints, wanted_E: npt.NDArray[np.bool_] | None = None
) -> pa.ListArray:
    """Ranges of a flat array as a list column; with `wanted_E`, only the wanted elements."""
    lengths = end_R - start_R
    offsets = np.append(0, np.cumsum(lengths))
    at = np.arange(offsets[-1]) + np.repeat(start_R - offsets[:-1], lengths)
    if wanted_E is not None:
        wanted = wanted_E[at]
        at, offsets = at[wanted], np.append(0, np.cumsum(wanted))[offsets]
    taken = flat if _is_whole(at, flat) else flat.take(pa.array(at))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), taken)


def _is_whole(at: Ints, flat: pa.Array) -> bool:
    return len(at) == len(flat) and bool((at == np.arange(len(at))).all())


def rows_of(
    spec: FeatureSpec, split: str, kept: pa.Table, ranges: Ranges, *, signed: bool = False
) -> pa.Table:
    """The rows of a split as a table: user, the histories, the targets, the window, the users' tokens.

    With `signed`, the index of a retired item is negative in `kept`.
    """
    names = {"item_index": "item_index", "time": "timestamp_ms", "behaviour": "behaviour"}
    flats = {names[c]: kept[c].combine_chunks().flatten() for c in kept.column_names if c in names}
    users = kept.take(pa.array(ranges.user_R))
    columns: dict[str, Any] = {"user_id": users["user"]}
    known_E = flats["item_index"].to_numpy() >= spec.first_item_index  # others are never targets
    if signed:
        flats["item_index"] = pa.array(np.abs(flats["item_index"].to_numpy()))
    for name, flat in flats.items():
        columns[name] = gather(flat, ranges.start_R, ranges.end_R)
    if split in ("validation", "test"):
        start, end = ranges.target_start_R, ranges.target_end_R
        columns |= {f"target_{n}": gather(flat, start, end, known_E) for n, flat in flats.items()}
    if split == "train" and spec.sequences.train_windows == "all":
        columns["window"] = pa.array(ranges.window_R.astype(np.int32))
    columns |= {f"user_{f.name}": users[f"user_{f.name}"] for f in spec.user_features}
    return pa.table(columns)


def train_counts(ranges: Ranges, item_E: Ints) -> pa.Table:
    """Number of occurrences of each item in whole training histories: item_index, train_count."""
    items, counts = np.unique(item_E[_covered(ranges, len(item_E))], return_counts=True)
    return pa.table({"item_index": items.astype(np.int64), "train_count": counts.astype(np.int64)})


def counts_and_times(ranges: Ranges, item_E: Ints, time_E: Ints) -> pa.Table:
    """Of every item that occurs: item_index, train_count (0 without training interactions), first_ms."""
    trained_E = _covered(ranges, len(item_E))
    rows = pl.DataFrame({"item_index": item_E, "time": time_E, "trained": trained_E})
    found = rows.group_by("item_index").agg(
        train_count=pl.col("trained").sum().cast(pl.Int64), first_ms=pl.col("time").min()
    )
    return found.sort("item_index").to_arrow()


def _covered(ranges: Ranges, events: int) -> npt.NDArray[np.bool_]:
    """Whether each of E interactions is in a range: [E]."""
    inside = np.zeros(events + 1, dtype=np.int64)
    np.add.at(inside, ranges.start_R, 1)
    np.add.at(inside, ranges.end_R, -1)
    return np.cumsum(inside[:-1]) > 0


def by_range(counts: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Counts ascending by item_index, cut into (range of ids, counts)."""
    ranges = counts["item_index"].to_numpy() // RANGE_ITEMS
    starts = np.flatnonzero(np.diff(ranges, prepend=-1))
    for start, end in itertools.pairwise([*starts.tolist(), len(counts)]):
        yield int(ranges[start]), counts.slice(start, end - start)


def split_histories_part(job: Job, element: tuple[int, TableRef], cuts: Cuts) -> Iterator[Any]:
    """A part of histories to one part per split: ((split, shard), part)."""
    bucket, part = element
    spec = job.spec
    kept = load(part)
    items = kept["item_index"].combine_chunks()
    start_U = items.offsets.to_numpy().astype(np.int64) if len(kept) else np.zeros(1, np.int64)
    item_E = items.flatten().to_numpy()
    signed = job.parent is not None
    real_E = np.abs(item_E) if signed else item_E
    time_E = kept["time"].combine_chunks().flatten().to_numpy()
    for split in SPLITS:
        ranges = split_ranges(spec, split, start_U, time_E, item_E, cuts)
        if split == "train":
            timed = isinstance(spec.split, Temporal)
            counts = (
                counts_and_times(ranges, real_E, time_E) if timed else train_counts(ranges, real_E)
            )
            for piece in by_range(counts):
                yield TaggedOutput(ITEM_COUNTS, piece)
        rows = rows_of(spec, split, kept, truncate(spec, split, ranges), signed=signed)
        if len(rows):
            path = write_parts(job.parts, split, [rows])
            shard = bucket // job.buckets
            yield (split, shard), TableRef(part.order, split, path, 0)
