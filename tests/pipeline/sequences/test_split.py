from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, QUICK, categorical, job_of, sorted_out, spec_of

from heterrec_pipeline.files.parts import TableRef, load, write_parts
from heterrec_pipeline.sequences.cuts import Cuts
from heterrec_pipeline.sequences.split import (
    ITEM_COUNTS,
    RANGE_ITEMS,
    by_range,
    gather,
    rows_of,
    split_histories_part,
    split_ranges,
    train_counts,
    truncate,
)
from heterrec_schemas.feature_spec import FeatureSpec, Temporal
from heterrec_schemas.manifest import SPLITS

FIRST = 4
"""First index of an item with two OOV buckets: 2 and 3 are never targets."""


class Event(NamedTuple):
    item: int
    time: int
    behaviour: int


HISTORIES = st.lists(
    st.lists(
        st.builds(Event, st.integers(2, 7), st.integers(0, 12), st.integers(2, 3)),
        min_size=1,
        max_size=9,
    ).map(lambda events: sorted(events, key=lambda e: e.time)),
    max_size=5,
)
USER = {"source": {"path": "users.csv"}, "key": "user", "features": [categorical().model_dump()]}


def spec_with(split: dict[str, Any], limit: int, windows: str, users: bool = False) -> FeatureSpec:
    return spec_of(
        items={"catalogue_vocabulary": {"oov_buckets": FIRST - 2}},
        interactions={
            "unknown_items": "oov",
            "behaviour": {"column": "what", "values": ["view", "buy"]},
        },
        sequences={"max_length": limit, "train_windows": windows},
        split=split,
        **({"users": USER} if users else {}),
    )


METHODS = [{"method": "leave_one_out"}] + [
    {"method": "temporal", "validation_at": 0.5, "test_at": 0.9, "targets": targets}
    for targets in ("all", "next", "last")
]
SPECS = st.builds(
    spec_with,
    st.sampled_from(METHODS),
    st.integers(1, 4),
    st.sampled_from(["last", "all"]),
    st.booleans(),
)
CUTS = st.tuples(st.integers(-1, 14), st.integers(-1, 14)).map(lambda c: (min(c), max(c)))


def kept_table(spec: FeatureSpec, histories: list[list[Event]]) -> pa.Table:
    """Histories as `build_histories` writes them, of users u0, u1 ..."""

    def lists(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([[getattr(e, name) for e in es] for es in histories], pa.list_(kind))

    columns = {
        "user": pa.array([f"u{k}" for k in range(len(histories))], pa.string()),
        "item_index": lists("item", pa.int64()),
        "time": lists("time", pa.int64()),
        "behaviour": lists("behaviour", pa.int32()),
    }
    if spec.users:
        columns["user_kind"] = pa.array(range(len(histories)), pa.int32())
    return pa.table(columns)


def made(
    spec: FeatureSpec, split: str, histories: list[list[Event]], cuts: Cuts
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """The rows of a split and the train counts of its ranges."""
    kept = kept_table(spec, histories)
    items = kept["item_index"].combine_chunks()
    times = kept["time"].combine_chunks().flatten().to_numpy()
    start_U = items.offsets.to_numpy().astype(np.int64) if histories else np.zeros(1, np.int64)
    flat = items.flatten().to_numpy()
    ranges = split_ranges(spec, split, start_U, times, flat, cuts)
    counts = train_counts(ranges, flat)
    assert counts["item_index"].to_pylist() == sorted(set(counts["item_index"].to_pylist()))
    rows = rows_of(spec, split, kept, truncate(spec, split, ranges)).to_pylist()
    return rows, dict(zip(*counts.to_pydict().values(), strict=True))


def parts_of(
    spec: FeatureSpec, split: str, events: list[Event], cuts: Cuts
) -> tuple[list[Event], list[Event]]:
    """One user's history and targets in a split, computed literally as the contract says."""
    if split == "latest":
        return events, []
    if isinstance(spec.split, Temporal):
        assert cuts is not None
        ends = {"train": cuts[0], "validation": cuts[0], "test": cuts[1]}
        history = [e for e in events if e.time < ends[split]]
        stop = cuts[1] if split == "validation" else 10**9
        targets = [e for e in events if ends[split] <= e.time < stop]
        how = spec.split.targets
    else:
        n, how = len(events), "all"
        if n < 3:
            return (events, []) if split == "train" else ([], [])
        last = {"train": n - 2, "validation": n - 2, "test": n - 1}[split]
        history, targets = events[:last], events[last : last + 1]
    if split == "train":
        return history, []
    known = [e for e in targets if e.item >= FIRST]
    if how == "next":
        return history, known[:1]
    if how == "last" and known:
        at = max(k for k, e in enumerate(targets) if e.item >= FIRST)
        return history + targets[:at], [targets[at]]
    return history, known


def by_hand(
    spec: FeatureSpec, split: str, histories: list[list[Event]], cuts: Cuts
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    rows: list[dict[str, Any]] = []
    counts: Counter[int] = Counter()
    limit = spec.sequences.max_length
    cutting = split == "train" and spec.sequences.train_windows == "all"
    for user, events in enumerate(histories):
        history, targets = parts_of(spec, split, events, cuts)
        if split == "train" and len(history) < 2:
            continue
        if split in ("validation", "test") and not (history and targets):
            continue
        counts.update(e.item for e in history)
        windows = [history[-limit:]]
        rest = history[:-limit]
        while cutting and rest:
            windows += [rest[-limit:]] if len(rest[-limit:]) >= 2 else []
            rest = rest[:-limit]
        for number, window in enumerate(windows):
            row: dict[str, Any] = {"user_id": f"u{user}"}
            sides = {"": window}
            if split in ("validation", "test"):
                sides["target_"] = targets
            for prefix, side in sides.items():
                row[f"{prefix}item_index"] = [e.item for e in side]
                row[f"{prefix}timestamp_ms"] = [e.time for e in side]
                row[f"{prefix}behaviour"] = [e.behaviour for e in side]
            if cutting:
                row["window"] = number
            if spec.users:
                row["user_kind"] = user
            rows.append(row)
    return rows, dict(counts)


@MANY
@given(HISTORIES, SPECS, CUTS, st.sampled_from(SPLITS))
def test_rows_and_counts_by_hand(
    histories: list[list[Event]], spec: FeatureSpec, cuts: tuple[int, int], split: str
) -> None:
    given_cuts = cuts if isinstance(spec.split, Temporal) else None
    rows, counts = made(spec, split, histories, given_cuts)
    want, want_counts = by_hand(spec, split, histories, given_cuts)
    assert rows == want
    if split == "train":
        assert counts == want_counts


@QUICK
@given(HISTORIES, SPECS, CUTS, st.sampled_from(SPLITS))
def test_a_users_rows_do_not_depend_on_others(
    histories: list[list[Event]], spec: FeatureSpec, cuts: tuple[int, int], split: str
) -> None:
    def rows_by_user(some: dict[int, list[Event]]) -> dict[int, Any]:
        found: dict[int, Any] = {}
        numbers = list(some)
        for row in made(spec, split, list(some.values()), cuts)[0]:
            user = numbers[int(row.pop("user_id")[1:])]
            row.pop("user_kind", None)
            found.setdefault(user, []).append(row)
        return found

    whole = rows_by_user(dict(enumerate(histories)))
    for left_out in range(len(histories)):
        rest = {k: h for k, h in enumerate(histories) if k != left_out}
        want = {k: v for k, v in whole.items() if k != left_out}
        assert rows_by_user(rest) == want


@MANY
@given(
    HISTORIES.filter(bool), SPECS, CUTS, st.integers(0, 8), st.sampled_from(["validation", "test"])
)
def test_changing_a_target_or_what_follows_changes_no_history_before_it(
    histories: list[list[Event]], spec: FeatureSpec, cuts: tuple[int, int], at: int, split: str
) -> None:
    """Causality: events from some position on are replaced by others at the same times."""
    events = histories[0]
    changed = [
        e if k < at else e._replace(item=11 - e.item, behaviour=5 - e.behaviour)
        for k, e in enumerate(events)
    ]
    valid = [e if k < at else e._replace(item=FIRST + e.item % 2) for k, e in enumerate(events)]
    past = [(e.item, e.time, e.behaviour) for e in events[:at]]
    limit = spec.sequences.max_length
    for others in (changed, valid):
        for row in made(spec, split, [others], cuts)[0]:
            history = list(
                zip(row["item_index"], row["timestamp_ms"], row["behaviour"], strict=True)
            )
            count = len(parts_of(spec, split, others, cuts)[0])
            first = count - len(history)
            assert len(history) == min(count, limit)
            assert history[: max(0, at - first)] == past[first : min(at, count)]
            assert max(row["timestamp_ms"]) <= min(row["target_timestamp_ms"])
            assert all(i >= FIRST for i in row["target_item_index"])


# --- pieces


def test_ranges_become_lists() -> None:
    flat = pa.array([0, 1, 2, 3, 4])

    def found(start: list[int], end: list[int], wanted: Any = None) -> list[list[int]]:
        array = gather(flat, np.array(start, np.int64), np.array(end, np.int64), wanted)
        array.validate(full=True)
        return array.to_pylist()

    assert found([3, 0, 2], [5, 2, 2]) == [[3, 4], [0, 1], []]
    assert found([0, 2], [2, 5]) == [[0, 1], [2, 3, 4]]
    assert found([0], [2]) == [[0, 1]], "a beginning is not the whole"
    assert found([], []) == []
    odd = np.array([True, False, True, False, True])
    assert found([0, 3, 3], [5, 4, 5], odd) == [[0, 2, 4], [], [4]]


def test_a_whole_array_is_not_copied() -> None:
    flat = pa.array([0, 1, 2])
    array = gather(flat, np.array([0, 1]), np.array([1, 3]))
    assert array.values.buffers()[1].address == flat.buffers()[1].address


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.get("targets", "leave_one_out"))
def test_no_users_make_no_rows(split: str, method: dict[str, Any]) -> None:
    rows, counts = made(spec_with(method, 3, "all"), split, [], None)
    assert (rows, counts) == ([], {})


@pytest.mark.parametrize("cuts", [(3, 9), (5, 5), (0, 20)])
def test_a_bucket_becomes_a_part_a_split(tmp_path: Path, cuts: tuple[int, int]) -> None:
    spec = spec_with(METHODS[1], 3, "all", users=True)
    spec = spec.model_copy(update={"output": spec.output.model_copy(update={"sequence_shards": 4})})
    job = job_of(spec, tmp_path)
    histories = [[Event(4 + k % 3, k, 2) for k in range(n)] for n in (10, 1, 4)]
    path = write_parts(job.parts, "histories", [kept_table(spec, histories)])
    part = TableRef(5, "histories", path, 0)
    bucket = 2 * job.buckets
    main, tagged = sorted_out(split_histories_part(job, (bucket, part), cuts))
    found = {}
    for (split, shard), written in main:
        assert (shard, written.order) == (2, 5)
        found[split] = load(written).to_pylist()
    want = {s: by_hand(spec, s, histories, cuts)[0] for s in SPLITS}
    assert found == {s: rows for s, rows in want.items() if rows}
    want_counts = by_hand(spec, "train", histories, cuts)[1]
    first: dict[int, int] = {}
    for event in (event for events in histories for event in events):
        first[event.item] = min(event.time, first.get(event.item, event.time))
    want_pieces = {item: (want_counts.get(item, 0), time) for item, time in first.items()}
    ((number, piece),) = tagged[ITEM_COUNTS]
    assert number == 0
    assert piece.column_names == ["item_index", "train_count", "first_ms"]
    assert {i: (n, t) for i, n, t in zip(*piece.to_pydict().values(), strict=True)} == want_pieces
    assert piece["item_index"].to_pylist() == sorted(first)


def test_counts_are_cut_into_ranges_of_ids() -> None:
    items = [4, RANGE_ITEMS - 1, RANGE_ITEMS, 3 * RANGE_ITEMS, 3 * RANGE_ITEMS + 9]
    counts = pa.table({"item_index": items, "train_count": [1, 2, 3, 4, 5]})
    found = [(k, t["train_count"].to_pylist()) for k, t in by_range(counts)]
    assert found == [(0, [1, 2]), (1, [3]), (3, [4, 5])]
    assert list(by_range(counts.slice(0, 0))) == []
