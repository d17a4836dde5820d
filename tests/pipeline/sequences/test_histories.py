from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest
from apache_beam.utils.windowed_value import WindowedValue
from hypothesis import given
from hypothesis import strategies as st
from pieces import DAY, QUICK, categorical, embedding, job_of, sorted_out, spec_of

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.sequences import histories as module
from heterrec_pipeline.sequences.histories import (
    DAYS,
    build_histories,
    cut_by_user,
    day_counts,
    deduplicate,
    histories,
    missing_user,
    sort_rows,
    with_user_tokens,
)
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.cut import range_numbers
from heterrec_pipeline.wiring.reports import COUNTS
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import stable_hash

WORDS = ["view", "buy"]


class Event(NamedTuple):
    user: str
    item: str
    time: int
    word: str
    order: int | None
    id: str | None = None


EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(["u", "v", "é", "w\U0001f600", "\uffff"]),
        st.sampled_from(["1", "2", "30"]),
        st.sampled_from([0, 5, DAY, DAY + 1]),
        st.sampled_from(WORDS),
        st.none() | st.integers(-1, 2),
        st.sampled_from([None, "x", "y", "z"]),
    ),
    max_size=20,
)
SPECS = st.builds(
    lambda how, order, behaviour, oov, shortest, ids: spec_of(
        items={"catalogue_vocabulary": {"oov_buckets": 3}},
        interactions={
            "order": "place" if order else None,
            "behaviour": {"column": "what", "values": WORDS} if behaviour else None,
            "unknown_items": "oov" if oov else "drop",
            "event_id": "id" if ids else None,
        },
        sequences={"deduplicate": how, "min_length": shortest},
    ),
    st.sampled_from(["exact", "consecutive", "none"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.booleans(),
)


def index_of(spec: FeatureSpec, item: str) -> int:
    """Two unknown items share an id if they are kept and fall into one bucket."""
    if spec.interactions.unknown_items == "oov":
        return {"1": 2, "2": 2, "30": 7}[item]
    return int(item)


def tie_of(spec: FeatureSpec, event: Event) -> int:
    more = [event.word] if spec.interactions.behaviour else []
    return stable_hash(event.user, str(event.time), event.item, *more)


def frame_of(spec: FeatureSpec, events: list[Event]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {
        "user": pl.Series([e.user for e in events], dtype=pl.String),
        "item_index": pl.Series([index_of(spec, e.item) for e in events], dtype=pl.Int64),
        "time": pl.Series([e.time for e in events], dtype=pl.Int64),
        "tie": pl.Series([tie_of(spec, e) for e in events], dtype=pl.UInt64),
    }
    if spec.interactions.behaviour:
        ids = [2 + WORDS.index(e.word) for e in events]
        columns["behaviour"] = pl.Series(ids, dtype=pl.Int32)
    if spec.interactions.order:
        columns["order"] = pl.Series([e.order for e in events], dtype=pl.Int64)
    if spec.interactions.event_id:
        ids = [None if e.id is None else stable_hash(e.id) for e in events]
        columns["event"] = pl.Series(ids, dtype=pl.UInt64)
    if spec.interactions.unknown_items == "oov":
        columns["item_hash"] = pl.Series([stable_hash(e.item) for e in events], dtype=pl.UInt64)
    return pl.DataFrame(columns)


def place(spec: FeatureSpec, event: Event) -> tuple[Any, ...]:
    order = (event.order is None, event.order or 0) if spec.interactions.order else ()
    return event.time, *order, tie_of(spec, event)


def kept_of(spec: FeatureSpec, events: list[Event]) -> list[Event]:
    """One user's events, sorted and deduplicated one by one."""
    ordered = sorted(events, key=lambda e: place(spec, e))
    if spec.interactions.event_id:
        before = [{e.id for e in ordered[:k]} - {None} for k in range(len(ordered))]
        ordered = [e for e, ids in zip(ordered, before, strict=True) if e.id not in ids]
    how = spec.sequences.deduplicate
    if how == "none":
        return ordered
    behaviour = spec.interactions.behaviour is not None
    kept: list[Event] = []
    for event in ordered:
        same = [
            e
            for e in kept
            if (e.item, e.time) == (event.item, event.time)
            and (not behaviour or e.word == event.word)
        ]
        if not same:
            kept.append(event)
    if how == "exact":
        return kept
    runs: list[Event] = []
    previous: Any = None
    for event in kept:
        this = (event.item, event.word if behaviour else None)
        if this != previous:
            runs.append(event)
        previous = this
    return runs


def plain(spec: FeatureSpec, events: list[Event]) -> dict[str, list[int]]:
    row = {
        "item_index": [index_of(spec, e.item) for e in events],
        "time": [e.time for e in events],
    }
    if spec.interactions.behaviour:
        row["behaviour"] = [2 + WORDS.index(e.word) for e in events]
    return row


def rows_by_user(table: pa.Table) -> dict[str, dict[str, list[int]]]:
    return {row.pop("user"): row for row in table.to_pylist()}


def user_order(user: str) -> tuple[int, bytes]:
    return stable_hash(user), user.encode()


@QUICK
@given(EVENTS, SPECS, st.randoms())
def test_histories_by_hand_whatever_the_order_of_the_rows(
    events: list[Event], spec: FeatureSpec, order: Any
) -> None:
    table, counts = histories(spec, frame_of(spec, order.sample(events, len(events))))
    users = sorted({e.user for e in events}, key=user_order)
    kept = {u: kept_of(spec, [e for e in events if e.user == u]) for u in users}
    long = {u: es for u, es in kept.items() if len(es) >= spec.sequences.min_length}
    assert table["user"].to_pylist() == list(long)
    assert rows_by_user(table) == {u: plain(spec, es) for u, es in long.items()}
    left, longest = sum(map(len, kept.values())), sum(map(len, long.values()))
    assert counts == {
        "kept": longest,
        "duplicate": len(events) - left,
        "short_user": left - longest,
    }


@QUICK
@given(EVENTS, SPECS)
def test_users_do_not_change_each_other(events: list[Event], spec: FeatureSpec) -> None:
    whole, _ = histories(spec, frame_of(spec, events))
    without, _ = histories(spec, frame_of(spec, [e for e in events if e.user != "v"]))
    want = rows_by_user(whole)
    want.pop("v", None)
    assert rows_by_user(without) == want


@QUICK
@given(EVENTS, SPECS, st.sampled_from([5, DAY, DAY + 1]))
def test_what_comes_later_does_not_change_what_was(
    events: list[Event], spec: FeatureSpec, now: int
) -> None:
    """Removing or changing later rows never changes the part of a history before them."""
    changed = [e._replace(item="30", time=e.time + 1) if e.time >= now else e for e in events]
    before = [e for e in events if e.time < now]
    spec = spec.model_copy(
        update={"sequences": spec.sequences.model_copy(update={"min_length": 1})}
    )
    for all_of_them in (events, changed):
        rows = rows_by_user(histories(spec, frame_of(spec, all_of_them))[0])
        past = rows_by_user(histories(spec, frame_of(spec, before))[0])
        for user, row in past.items():
            count = len(row["time"])
            assert {k: v[:count] for k, v in rows[user].items()} == row
            assert all(t >= now for t in rows[user]["time"][count:])


# --- order


@QUICK
@given(EVENTS, SPECS, st.integers(1, 3))
def test_users_of_one_hash_are_told_apart(
    events: list[Event], spec: FeatureSpec, hashes: int
) -> None:
    def colliding(column: str) -> pl.Expr:
        return pl.col(column).str.len_bytes().cast(pl.UInt64) % hashes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "hash_column", colliding)
        ordered = sort_rows(spec, frame_of(spec, events))
        table, _ = histories(spec, frame_of(spec, events))
    columns = ["user", "time", *(["order"] if spec.interactions.order else []), "tie"]
    found = list(ordered.select(columns).iter_rows())
    want = sorted(
        events, key=lambda e: (len(e.user.encode()) % hashes, e.user.encode(), place(spec, e))
    )
    rows = [(e.user, e.time, e.order, tie_of(spec, e)) for e in want]
    assert found == [r if spec.interactions.order else (*r[:2], r[3]) for r in rows]
    kept = {u: kept_of(spec, [e for e in events if e.user == u]) for u in {e.user for e in events}}
    long = {u: es for u, es in kept.items() if len(es) >= spec.sequences.min_length}
    assert rows_by_user(table) == {u: plain(spec, es) for u, es in long.items()}


def test_nothing_can_be_sorted_and_deduplicated() -> None:
    spec = spec_of()
    empty = frame_of(spec, [])
    assert deduplicate(spec, sort_rows(spec, empty)).is_empty()
    table, counts = histories(spec, empty)
    assert (len(table), counts) == (0, {"kept": 0, "duplicate": 0, "short_user": 0})
    assert table.schema.names == ["user", "item_index", "time"]


# --- buckets

USERS = st.lists(st.text(max_size=3), max_size=20)


@QUICK
@given(USERS, st.integers(1, 7), st.integers(1, 9))
def test_buckets_are_ranges_of_hashes_within_a_shard(
    users: list[str], shards: int, ranges: int
) -> None:
    found = range_numbers(pl.Series(users, dtype=pl.String), shards, ranges).tolist()
    hashes = [stable_hash(u) for u in users]
    assert [b // ranges for b in found] == [h % shards for h in hashes]
    assert [b % ranges for b in found] == [(h >> 32) * ranges >> 32 for h in hashes]
    for shard in range(shards):
        mine = sorted((h, b) for h, b in zip(hashes, found, strict=True) if h % shards == shard)
        assert [b for _, b in mine] == sorted(b for _, b in mine), "parts follow one another"


def drained(do: Buffered, tables: list[pa.Table]) -> list[tuple[int, pa.Table]]:
    do.start_bundle()
    pieces = [piece for table in tables for piece in do.process(table)]
    for value in do.finish_bundle():
        assert isinstance(value, WindowedValue)
        pieces.append(value.value)
    return pieces


@pytest.mark.parametrize("flush_bytes", [1, 10**9])
def test_rows_go_to_their_buckets_in_few_pieces(flush_bytes: int) -> None:
    users = [f"u{k}" for k in range(50)]
    tokens = pa.array([[k, k] for k in range(50)], pa.list_(pa.int32(), 2))
    table = pa.table({"user": users, "user_look": tokens, "n": pa.array(range(50), pa.int8())})
    do = Buffered(partial(cut_by_user, 3, 2), flush_bytes)
    tables = [table.slice(0, 20), table.slice(20)]
    for _ in range(2):  # a second bundle begins anew
        pieces = drained(do, tables)
        assert len({b for b, _ in pieces}) == 6
        assert len(pieces) == (6 if flush_bytes > 1 else 12)
        for bucket, piece in pieces:
            assert piece.schema.equals(table.schema)
            assert set(range_numbers(pl.Series(piece["user"]), 3, 2)) == {bucket}
        rows = [row for _, piece in pieces for row in piece.to_pylist()]
        assert sorted(rows, key=lambda r: r["n"]) == table.to_pylist()
    assert drained(do, []) == []


# --- users' tokens and days


def test_users_without_a_row_get_missing_tokens() -> None:
    look = embedding(dim=2, groups=2).model_dump()
    kinds = categorical("kinds", multivalued=True).model_dump()
    users = {"source": {"path": "users.csv"}, "key": "user", "features": [look, kinds]}
    missing = missing_user(spec_of(users=users))
    assert missing is not None
    assert missing.to_pylist() == [{"user_look": [1, 1], "user_kinds": [1]}]
    assert missing_user(spec_of()) is None
    kept = pa.table({"user": ["b", "x", "a"], "time": [[1], [2], [3]]})
    tokens = [
        pa.table(
            {
                "user": users,
                "user_look": pa.array(looks, pa.list_(pa.int32(), 2)),
                "user_kinds": pa.array(kinds, pa.list_(pa.int32())),
            }
        )
        for users, looks, kinds in (
            (["a", "z"], [[2, 3], [9, 9]], [[4, 5], [9]]),
            (["b"], [[6, 7]], [[8]]),
        )
    ]
    found = with_user_tokens(kept, tokens, missing)
    assert found.to_pydict() == {
        "user": ["b", "x", "a"],
        "time": [[1], [2], [3]],
        "user_look": [[6, 7], [1, 1], [2, 3]],
        "user_kinds": [[8], [1], [4, 5]],
    }
    assert with_user_tokens(kept, [], missing)["user_kinds"].to_pylist() == [[1]] * 3
    assert len(with_user_tokens(kept.slice(0, 0), tokens, missing)) == 0


def test_days_are_counted() -> None:
    kept = pa.table({"time": [[0, DAY - 1, DAY], [DAY + 5, 3 * DAY]]})
    assert day_counts(kept).to_pydict() == {"day": [0, 1, 3], "count": [2, 2, 1]}
    assert len(day_counts(kept.slice(0, 0))) == 0


def test_a_bucket_becomes_a_part(tmp_path: Path) -> None:
    spec = spec_of(sequences={"min_length": 2}, output={"sequence_shards": 2})
    job = job_of(spec, tmp_path)
    events = [Event("u", "1", 0, "view", None), Event("u", "2", DAY, "view", None)] * 2
    events += [Event("v", "1", 0, "view", None)]
    tables = [frame_of(spec, some).to_arrow() for some in (events[:3], events[3:])]
    main, tagged = sorted_out(build_histories(job, None, (1, {"log": tables})))
    ((bucket, part),) = main
    assert (bucket, part.order, part.table) == (1, 1 % job.buckets, "histories")
    assert load(part).to_pylist() == [{"user": "u", "item_index": [1, 2], "time": [0, DAY]}]
    assert dict(tagged[COUNTS]) == {
        "interactions.kept": 2,
        "interactions.duplicate": 2,
        "interactions.short_user": 1,
        "lengths.2": 1,
    }
    assert tagged[DAYS][0].to_pydict() == {"day": [0, 1], "count": [1, 1]}


def test_users_without_interactions_make_no_part(tmp_path: Path) -> None:
    users = pa.table({"user": ["u"]})
    element = (0, {"log": [], "users": [users]})
    assert list(build_histories(job_of(spec_of(), tmp_path), users, element)) == []
