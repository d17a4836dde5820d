from typing import Any

import pyarrow as pa
import pytest

from heterrec_schemas import parse_spec, stable_hash
from heterrec_schemas.testing import Settings, shop, spec_text
from heterrec_schemas.testing.sequences import Sequenced, sequence

INDEX = {"a": 2, "b": 3, "c": 4, "d": 5}


def sequenced(*rows: tuple[str, int, str, int | None], **settings: Any) -> Sequenced:
    """Sequences of one user out of item, second, behaviour and order."""
    spec = parse_spec(spec_text(shop(0), Settings(**{"min_length": 1, **settings})))
    columns = {
        "user_id": ["u"] * len(rows),
        "item_id": [row[0] for row in rows],
        "timestamp": [row[1] for row in rows],
        "event_type": [row[2] for row in rows],
        "event_id": pa.array([row[3] for row in rows], pa.int64()),
    }
    return sequence(spec, pa.table(columns), INDEX)


def latest(done: Sequenced) -> list[str]:
    return [event.item for event in done.splits["latest"][0].history]


def test_equal_times_are_ordered_by_a_hash_of_the_interaction() -> None:
    rows = [(item, 7, word, None) for item in INDEX for word in ("view", "cart")]
    hashes = {(item, word): stable_hash("u", "7000", item, word) for item, _, word, _ in rows}
    done = sequenced(*rows)
    told = [(e.item, ["view", "cart"][e.behaviour - 2]) for e in done.splits["latest"][0].history]
    assert told == sorted(hashes, key=lambda pair: hashes[pair])


def test_time_comes_before_order_and_order_before_the_hash() -> None:
    done = sequenced(
        ("a", 8, "view", 1), ("b", 7, "view", None), ("c", 7, "view", 5), ("d", 7, "view", 4)
    )
    assert latest(done) == ["d", "c", "b", "a"]


def test_of_equal_rows_the_one_of_the_smallest_order_is_kept() -> None:
    done = sequenced(
        ("a", 7, "view", None), ("b", 7, "view", 3), ("a", 7, "view", 2), ("a", 7, "view", 9)
    )
    assert latest(done) == ["a", "b"]
    assert done.counts.duplicate == 2


def test_another_behaviour_makes_another_interaction() -> None:
    done = sequenced(("a", 7, "view", 1), ("a", 7, "cart", 2))
    assert latest(done) == ["a", "a"]
    assert done.counts.duplicate == 0


@pytest.mark.parametrize(("policy", "unknown"), [("drop", 1), ("oov", 0)])
def test_unknown_items_are_dropped_or_hashed(policy: str, unknown: int) -> None:
    done = sequenced(("a", 7, "view", 1), ("zz", 8, "view", 2), unknown_items=policy)
    assert done.counts.unknown_item == unknown
    assert latest(done) == ["a", "zz"][: 2 - unknown]
    if policy == "oov":
        indices = [e.item_index for e in done.splits["latest"][0].history]
        assert indices[1] == 2 + stable_hash("zz") % 4


def test_short_users_leave_no_rows() -> None:
    done = sequenced(("a", 7, "view", 1), ("b", 8, "view", 2), min_length=3)
    assert done.counts.short_user == 2
    assert done.counts.kept == 0
    assert not any(done.splits.values())
