"""Turn a shop's log into sequences plainly, a user at a time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import pyarrow as pa

from heterrec_schemas.feature_spec import FeatureSpec, Temporal
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import SPLITS, InteractionCounts
from heterrec_schemas.tokens import FIRST_FREE
from heterrec_schemas.values import value_text

DAY_MS = 86_400_000
_LAST = 2**63


class Event(NamedTuple):
    """One interaction; equal ones by the first five fields are duplicates."""

    user: str
    item: str
    item_index: int
    timestamp_ms: int
    behaviour: int
    order: int


@dataclass(frozen=True)
class Row:
    """One row of a split: a user's history, and the targets of validation and test."""

    user: str
    window: int
    history: Sequence[Event]
    targets: Sequence[Event]


@dataclass(frozen=True)
class Sequenced:
    """The rows of every split, each in the order of its shards, and what was counted."""

    splits: dict[str, list[Row]]
    counts: InteractionCounts
    train_counts: dict[int, int]
    cuts: dict[str, int]


def sequence(spec: FeatureSpec, log: pa.Table, index: Mapping[str, int]) -> Sequenced:
    """Deduplicate, order, split and truncate a shop's log.

    Args:
        spec: the shop's.
        log: the shop's interactions.
        index: the item_index of every item of the catalogue, by the text of its key.
    """
    known, unknown = _events(spec, log, index)
    best: dict[tuple[object, ...], Event] = {}
    for event in sorted(known, key=lambda e: e.order):
        best.setdefault(event[:5], event)
    users: dict[str, list[Event]] = {}
    for event in sorted(best.values(), key=lambda e: _place(spec, e)):
        users.setdefault(event.user, []).append(event)
    kept = {u: e for u, e in users.items() if len(e) >= spec.sequences.min_length}
    short = sum(map(len, users.values())) - sum(map(len, kept.values()))
    cuts = _cuts(spec, [e for events in kept.values() for e in events])
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    train_counts: Counter[int] = Counter()
    for user in sorted(kept, key=lambda u: (stable_hash(u), u)):
        _split(spec, user, kept[user], cuts, splits, train_counts)
    counts = InteractionCounts(
        read=len(log),
        kept=sum(map(len, kept.values())),
        unknown_item=unknown,
        duplicate=len(known) - len(best),
        short_user=short,
        rejected=0,
    )
    return Sequenced(splits, counts, dict(sorted(train_counts.items())), cuts)


def _events(spec: FeatureSpec, log: pa.Table, index: Mapping[str, int]) -> tuple[list[Event], int]:
    """The interactions with known items (all of them under `oov`), and how many were dropped."""
    behaviour = spec.interactions.behaviour
    assert behaviour is not None, "the shop's spec declares behaviours"
    buckets, events = spec.items.catalogue_vocabulary.oov_buckets, []
    for row in log.to_pylist():
        user, item = value_text(row["user_id"]), value_text(row["item_id"])
        if user is None or item is None:
            raise ValueError("the shop's keys are all there")
        if item not in index and spec.interactions.unknown_items == "drop":
            continue
        events.append(
            Event(
                user,
                item,
                index[item] if item in index else FIRST_FREE + stable_hash(item) % buckets,
                row["timestamp"] * 1000,
                FIRST_FREE + behaviour.values.index(row["event_type"]),
                _LAST if row["event_id"] is None else row["event_id"],
            )
        )
    return events, len(log) - len(events)


def _place(spec: FeatureSpec, event: Event) -> tuple[int, int, int]:
    assert spec.interactions.behaviour is not None
    word = spec.interactions.behaviour.values[event.behaviour - FIRST_FREE]
    tie = stable_hash(event.user, str(event.timestamp_ms), event.item, word)
    return event.timestamp_ms, event.order, tie


def _cuts(spec: FeatureSpec, events: list[Event]) -> dict[str, int]:
    if not isinstance(spec.split, Temporal):
        return {}
    days = Counter(event.timestamp_ms // DAY_MS for event in events)
    cuts = {}
    for name in ("validation_at", "test_at"):
        part = Fraction(str(getattr(spec.split, name)))
        day, before = min(days), 0
        while before < part * len(events):
            before += days[day]
            day += 1
        cuts[f"{name}_ms"] = day * DAY_MS
    return cuts


def _split(
    spec: FeatureSpec,
    user: str,
    events: list[Event],
    cuts: dict[str, int],
    splits: dict[str, list[Row]],
    train_counts: Counter[int],
) -> None:
    """Add one user's rows to the splits."""
    longest = spec.sequences.max_length
    splits["latest"].append(Row(user, 0, events[-longest:], []))
    if isinstance(spec.split, Temporal):
        train = sum(e.timestamp_ms < cuts["validation_at_ms"] for e in events)
        test = sum(e.timestamp_ms < cuts["test_at_ms"] for e in events)
        ends = {"validation": (train, test), "test": (test, len(events))}
        how = spec.split.targets
    else:
        count = len(events)
        ends = {"validation": (count - 2, count - 1), "test": (count - 1, count)}
        ends, how = ends if count >= 3 else {}, "all"
        train = count - len(ends)
    for split, (start, stop) in ends.items():
        targets = [e for e in events[start:stop] if e.item_index >= spec.first_item_index]
        history = events[:start]
        if how == "next":
            targets = targets[:1]
        elif how == "last" and targets:
            targets = targets[-1:]
            history = events[: events.index(targets[0])]
        if history and targets:
            splits[split].append(Row(user, 0, history[-longest:], targets))
    if train >= 2:
        train_counts.update(e.item_index for e in events[:train])
        splits["train"] += _windows(spec, user, events[:train])


def _windows(spec: FeatureSpec, user: str, events: list[Event]) -> list[Row]:
    longest = spec.sequences.max_length
    if spec.sequences.train_windows == "last":
        return [Row(user, 0, events[-longest:], [])]
    stops = range(len(events), 0, -longest)
    parts = [events[max(0, stop - longest) : stop] for stop in stops]
    return [Row(user, n, part, []) for n, part in enumerate(parts) if n == 0 or len(part) >= 2]


def sequence_columns(spec: FeatureSpec, split: str, rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The columns of a split's events and windows; keys and features are added by the caller."""
    columns: dict[str, list[Any]] = {}
    sides = {"": [row.history for row in rows]}
    if split in ("validation", "test"):
        sides["target_"] = [row.targets for row in rows]
    for prefix, sequences in sides.items():
        for name in ("item_index", "timestamp_ms", "behaviour"):
            columns[prefix + name] = [[getattr(e, name) for e in events] for events in sequences]
    if split == "train" and spec.sequences.train_windows == "all":
        columns["window"] = [row.window for row in rows]
    return columns
