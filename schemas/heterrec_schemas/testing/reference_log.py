"""The reference's log: events, splits, sequences."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from heterrec_schemas.testing.reference_values import (
    NUMBER,
    RawTable,
    RefusedError,
    Row,
    Stamp,
    is_integer_column,
    shown,
    stable_hash,
    text_of,
)

DAY = 86_400_000
END_OF_TIME = 7_258_118_400_000  # 2200-01-01
MILLISECONDS = {
    "s": Fraction(1000),
    "ms": Fraction(1),
    "us": Fraction(1, 1000),
    "ns": Fraction(1, 1_000_000),
    "day": Fraction(DAY),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Event:
    """One row of the log; what is missing or unreadable is None."""

    row: int
    raw: Row
    user: Any = None
    item: Any = None
    time: Any = None
    order: int | None = None
    behaviour: int = 0
    behaviour_text: str = ""
    index: int = 0
    reason: str = ""
    """The reason, column and value of its reject; empty if it is not rejected."""
    column: str = ""
    value: str | None = None

    @property
    def order_key(self) -> tuple[int, int]:
        """Missing order sorts last."""
        return (1, 0) if self.order is None else (0, self.order)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Time, then order, then a hash of the interaction."""
        texts = [self.user, str(self.time), self.item]
        if self.behaviour:
            texts.append(self.behaviour_text)
        return self.time, self.order_key, stable_hash(*texts)

    def reject(self, column: str, reason: str) -> None:
        """Reject the event, unless an earlier reason exists."""
        if not self.reason:
            self.column, self.reason = column, reason
            self.value = shown(self.raw.get(column))


@dataclass
class Log:
    """The whole log."""

    integral_user: bool
    accepted: list[Event] = field(default_factory=list)
    rejected: list[Event] = field(default_factory=list)
    readable_items: list[Event] = field(default_factory=list)
    """Rows with a readable item and time, whatever else is wrong."""


def read_events(spec: Row, table: RawTable) -> Log:
    """Every row of the log, with its first reason of rejection."""
    for key in (spec["user"], spec["item"]):
        cells = [c for c in table.column(key) if isinstance(c, float)]
        if any(c == c and not c.is_integer() for c in cells):
            raise RefusedError(f"the key {key} holds floats with fractions")
    log = Log(integral_user=is_integer_column(table.column(spec["user"])))
    for position, raw in enumerate(table.rows):
        event = _read_event(spec, position, raw)
        (log.rejected if event.reason else log.accepted).append(event)
        if event.item is not None and event.time is not None:
            log.readable_items.append(event)
    return log


def _read_event(spec: Row, position: int, raw: Row | None) -> Event:
    event = Event(row=position, raw=raw or {})
    if raw is None:
        event.reason = "malformed_row"
        return event
    for side in ("user", "item"):
        text = text_of(raw.get(spec[side]))
        setattr(event, side, text)
        if text is None:
            event.reject(spec[side], "missing_key")

    time, reason = _read_time(spec["timestamp"], raw.get(spec["timestamp"]["column"]))
    event.time = time
    if reason:
        event.reject(spec["timestamp"]["column"], reason)
    if "order" in spec:
        event.order, good = read_order(raw.get(spec["order"]))
        if not good:
            event.reject(spec["order"], "order_unreadable")
    if "behaviour" in spec:
        listed = [text_of(v) for v in spec["behaviour"]["values"]]
        text = text_of(raw.get(spec["behaviour"]["column"]))
        if text is not None and text in listed:
            event.behaviour, event.behaviour_text = 2 + listed.index(text), text
        else:
            event.reject(spec["behaviour"]["column"], "unknown_behaviour")
    return event


def _read_time(spec: Row, cell: Any) -> tuple[int | None, str]:
    """Milliseconds since 1970 UTC, floored; or None and the reason."""
    try:
        time = _parse_time(spec, cell)
    except (ValueError, OverflowError):
        return None, "time_unreadable"
    if not 0 <= time < END_OF_TIME:
        return None, "time_out_of_range"
    return time, ""


def _parse_time(spec: Row, cell: Any) -> int:
    if isinstance(cell, Stamp):
        return cell.milliseconds
    if isinstance(cell, date):
        return (cell - date(1970, 1, 1)).days * DAY
    if spec.get("unit") in MILLISECONDS:
        if isinstance(cell, bool) or cell is None:
            raise ValueError("no number")
        text = str(cell).strip()
        if not NUMBER.fullmatch(text):
            raise ValueError("no number")
        number = Decimal(text)
        if number.adjusted() > 40:
            return END_OF_TIME if number > 0 else -1
        if number.adjusted() < -40:
            return -1 if number < 0 else 0
        return int(Fraction(number) * MILLISECONDS[spec["unit"]] // 1)
    if not isinstance(cell, str):
        raise ValueError("no text")
    if "format" in spec:
        moment = datetime.strptime(cell.strip(), spec["format"])
    else:
        moment = datetime.fromisoformat(cell.strip().removesuffix(" UTC"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def read_order(cell: Any) -> tuple[int | None, bool]:
    """The order, None where missing; and whether it could be read."""
    text = text_of(cell)
    if text is None:
        return None, True
    if isinstance(cell, bool) or not re.fullmatch(r"-?\d+", text, re.ASCII):
        return None, False
    number = int(text)
    return (number, True) if -(2**63) <= number < 2**63 else (None, False)


# --- kept interactions -----------------------------------------------------------------------


def build_sequences(spec: Row, log: Log, index_of: dict[str, int], out: Any) -> None:
    """Known items -> deduplicated -> long enough -> splits; sets counts, cuts, sequences of `out`."""
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
    _split_users(spec, log, kept, out)


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


def _split_users(spec: Row, log: Log, kept: dict[str, list[Event]], out: Any) -> None:
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
        for split, history, targets in splits_of(spec, kept[user], out.cuts):
            if split == "train":
                trained.update(event.index for event in history)
            shard = out.sequences[split][stable_hash(user) % shards]
            user_id = int(user) if log.integral_user else user
            shard.extend(rows_of(spec, user_id, split, history, targets))
    out.item_counts = sorted(trained.items())
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
    spec: Row, events: list[Event], cuts: dict[str, int]
) -> list[tuple[str, list[Event], list[Event]]]:
    """The rows of one user before truncation: split, history, targets."""
    first_item = 2 + spec["items"].get("catalogue_vocabulary", {}).get("oov_buckets", 0)
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
        # An out-of-vocabulary item is never a target.
        wanted = [k for k in range(start, end) if events[k].index >= first_item]
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
