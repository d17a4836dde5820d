"""The reference's sequences: kept interactions of known items, splits and windows."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from heterrec_schemas.testing.reference_log import DAY, EPOCH, Event, Log
from heterrec_schemas.testing.reference_values import RefusedError, Row, stable_hash


def build_sequences(
    spec: Row, log: Log, index_of: dict[str, int], out: Any, catalogue: Collection[int]
) -> None:
    """Known items -> deduplicated -> long enough -> splits; sets counts, cuts, sequences of `out`.

    Only items of the catalogue can be targets; `index_of` may know further ones.
    """
    read = len(log.accepted) + len(log.rejected)
    known, unknown = _known_items(spec, log, index_of)
    users: dict[str, list[Event]] = {}
    for event in known:
        users.setdefault(event.user, []).append(event)
    kept = {user: deduplicate(spec, events) for user, events in users.items()}
    duplicates = len(known) - sum(map(len, kept.values()))
    shortest = spec["sequences"].get("min_length", 1)
    short = sum(len(events) for events in kept.values() if len(events) < shortest)
    kept = {user: events for user, events in kept.items() if len(events) >= shortest}
    out.counts["interactions"] = {
        "read": read,
        "kept": sum(map(len, kept.values())),
        "unknown_item": unknown,
        "duplicate": duplicates,
        "short_user": short,
        "rejected": len(log.rejected),
    }
    if not kept:
        raise RefusedError("no interaction is left")
    _split_users(spec, log, kept, out, catalogue)


def _known_items(spec: Row, log: Log, index_of: dict[str, int]) -> tuple[list[Event], int]:
    policy = spec["interactions"].get("unknown_items", "drop")
    buckets = spec["items"].get("catalogue_vocabulary", {}).get("oov_buckets", 0)
    known, unknown = [], 0
    for event in log.accepted:
        if event.item in index_of:
            event.index = index_of[event.item]
            known.append(event)
        elif policy == "oov":
            event.index = 2 + stable_hash(event.item) % buckets
            known.append(event)
        elif policy == "reject":
            event.reject(spec["interactions"]["item"], "unknown_item")
            log.rejected.append(event)
        else:
            unknown += 1
    return known, unknown


def deduplicate(spec: Row, events: list[Event]) -> list[Event]:
    """One user's events in order, without duplicates."""
    how = spec["sequences"].get("deduplicate", "exact")
    ordered = sorted(events, key=lambda e: e.sort_key)
    ids: set[str] = set()
    once = []
    for event in ordered:
        if event.event_id not in ids:
            once.append(event)
        if event.event_id is not None:
            ids.add(event.event_id)
    ordered = once
    if how == "none":
        return ordered
    first: dict[tuple[Any, ...], Event] = {}
    for event in ordered:  # of equal ones the smallest order comes first
        first.setdefault((event.item, event.time, event.behaviour), event)
    ordered = list(first.values())
    if how == "exact":
        return ordered
    runs: list[Event] = []
    last = None
    for event in ordered:
        if (event.item, event.behaviour) != last:
            runs.append(event)
        last = (event.item, event.behaviour)
    return runs


# --- splits ----------------------------------------------------------------------------------


def _split_users(
    spec: Row, log: Log, kept: dict[str, list[Event]], out: Any, catalogue: Collection[int]
) -> None:
    shards = spec.get("output", {}).get("sequence_shards", 1)
    out.sequences = {
        split: [[] for _ in range(shards)] for split in ("train", "validation", "test", "latest")
    }
    if spec["split"]["method"] == "temporal":
        times = [e.time for events in kept.values() for e in events]
        out.cuts = {
            "validation_at_ms": cut(spec["split"]["validation_at"], times),
            "test_at_ms": cut(spec["split"]["test_at"], times),
        }
        if out.cuts["validation_at_ms"] > out.cuts["test_at_ms"]:
            raise RefusedError("validation_at lies after test_at")
    trained: Counter[int] = Counter()
    for user in sorted(kept, key=lambda u: (stable_hash(u), u.encode("utf-8"))):
        for split, history, targets in splits_of(spec, kept[user], out.cuts, catalogue):
            if split == "train":
                trained.update(event.index for event in history)
            shard = out.sequences[split][stable_hash(user) % shards]
            user_id = int(user) if log.integral_user else user
            shard.extend(rows_of(spec, user_id, split, history, targets))
    out.item_counts = sorted(trained.items())
    if out.cuts:
        first: dict[int, int] = {}
        for event in (event for events in kept.values() for event in events):
            first[event.index] = min(event.time, first.get(event.index, event.time))
        out.first_interactions = sorted(first.items())
    out.counts["sequences"] = {split: sum(map(len, rows)) for split, rows in out.sequences.items()}


def cut(at: Any, times: list[int]) -> int:
    """A cut in ms: a given time, or the first midnight with a fraction of the interactions before it."""
    if isinstance(at, datetime | date):
        at = at.isoformat()
    if isinstance(at, str):
        moment = datetime.fromisoformat(at.strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - EPOCH) // timedelta(milliseconds=1)
    wanted = Fraction(str(at)) * len(times)
    per_day = Counter(time // DAY for time in times)
    before = 0
    for day in sorted(per_day):
        if before >= wanted:
            return day * DAY
        before += per_day[day]
        if before >= wanted:
            return (day + 1) * DAY
    raise AssertionError("all days together hold everything")


def splits_of(
    spec: Row, events: list[Event], cuts: dict[str, int], catalogue: Collection[int]
) -> list[tuple[str, list[Event], list[Event]]]:
    """The rows of one user before truncation: split, history, targets."""
    n = len(events)
    found: list[tuple[str, list[Event], list[Event]]] = [("latest", events, [])]
    if not cuts:
        train = events if n < 3 else events[:-2]
        windows = [("validation", n - 2, n - 1), ("test", n - 1, n)] if n >= 3 else []
        targets = "all"
    else:
        a = sum(e.time < cuts["validation_at_ms"] for e in events)
        b = sum(e.time < cuts["test_at_ms"] for e in events)
        train = events[:a]
        windows = [("validation", a, b), ("test", b, n)]
        targets = spec["split"].get("targets", "all")
    if len(train) >= 2:
        found.append(("train", train, []))
    for split, start, end in windows:
        # Neither an out-of-vocabulary item nor one that has left the catalogue is a target.
        wanted = [k for k in range(start, end) if events[k].index in catalogue]
        history = start
        if targets == "next":
            wanted = wanted[:1]
        if targets == "last" and wanted:
            wanted = wanted[-1:]
            history = wanted[0]
        if history > 0 and wanted:
            found.append((split, events[:history], [events[k] for k in wanted]))
    return found


def rows_of(
    spec: Row, user_id: Any, split: str, history: list[Event], targets: list[Event]
) -> list[Row]:
    """The rows of one user in one split: truncated, or cut into windows."""
    longest = spec["sequences"]["max_length"]
    windows = [history[-longest:]]
    cutting = split == "train" and spec["sequences"].get("train_windows", "last") == "all"
    if cutting:
        rest = history[:-longest]
        while rest:
            if len(rest[-longest:]) >= 2:
                windows.append(rest[-longest:])
            rest = rest[:-longest]
    rows = []
    for number, window in enumerate(windows):
        row = {"user_id": user_id, **_columns_of(spec, "", window)}
        if split in ("validation", "test"):
            row |= _columns_of(spec, "target_", targets)
        if cutting:
            row["window"] = number
        rows.append(row)
    return rows


def _columns_of(spec: Row, prefix: str, events: list[Event]) -> Row:
    columns: Row = {
        f"{prefix}item_index": [e.index for e in events],
        f"{prefix}timestamp_ms": [e.time for e in events],
    }
    if "behaviour" in spec["interactions"]:
        columns[f"{prefix}behaviour"] = [e.behaviour for e in events]
    return columns
