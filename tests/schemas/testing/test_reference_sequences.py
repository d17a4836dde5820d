from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from heterrec_schemas import stable_hash
from heterrec_schemas.testing import Settings, Shop, shop, spec_text, write_shop
from heterrec_schemas.testing.reference import Reference, reference

ITEMS = ["a", "b", "c", "d"]


@pytest.fixture
def sequenced(tmp_path: Path) -> Any:
    """Gives the reference of a log of item, second, behaviour and order (and user, else `u`)."""

    def run(*rows: Any, **chosen: Any) -> Reference:
        settings = Settings(**{"min_length": 1, **chosen})
        names = ("item_id", "timestamp", "event_type", "event_id", "user_id")
        log = [dict(zip(names, (*row, "u")[:5], strict=True)) for row in rows]
        goods = shop(0)
        items = goods.items.slice(0, len(ITEMS)).set_column(0, "item_id", [ITEMS])
        goods = Shop(
            items=items,
            details=None,
            interactions=pa.table(_columns(log)),
            users=goods.users,
            dim=16,
        )
        write_shop(tmp_path, goods, settings)
        return reference(yaml.safe_load(spec_text(goods, settings)), tmp_path)

    return run


def _columns(log: list[dict[str, Any]]) -> dict[str, Any]:
    types = {"event_id": pa.int64(), "timestamp": pa.int64()}
    return {name: pa.array([row[name] for row in log], types.get(name)) for name in log[0]}


def histories(found: Reference) -> list[dict[str, Any]]:
    """The rows of `latest`, of all shards."""
    return [row for shard in found.sequences["latest"] for row in shard]


def latest(found: Reference) -> list[str]:
    """The items of the only user."""
    names = {row["item_index"]: row["item_id"] for row in found.items}
    (row,) = histories(found)
    return [names.get(index, "?") for index in row["item_index"]]


def test_equal_times_are_ordered_by_a_hash_of_the_interaction(sequenced: Any) -> None:
    rows = [(item, 7, word, None) for item in ITEMS for word in ("view", "cart")]
    hashes = {(item, word): stable_hash("u", "7000", item, word) for item, _, word, _ in rows}
    found = sequenced(*rows)
    words = [["view", "cart"][behaviour - 2] for behaviour in histories(found)[0]["behaviour"]]
    assert list(zip(latest(found), words, strict=True)) == sorted(hashes, key=lambda p: hashes[p])


def test_time_comes_before_order_and_order_before_the_hash(sequenced: Any) -> None:
    found = sequenced(
        ("a", 8, "view", 1), ("b", 7, "view", None), ("c", 7, "view", 5), ("d", 7, "view", 4)
    )
    assert latest(found) == ["d", "c", "b", "a"]


def test_of_equal_rows_the_one_of_the_smallest_order_is_kept(sequenced: Any) -> None:
    found = sequenced(
        ("a", 7, "view", None), ("b", 7, "view", 3), ("a", 7, "view", 2), ("a", 7, "view", 9)
    )
    assert latest(found) == ["a", "b"]
    assert found.counts["interactions"]["duplicate"] == 2


def test_another_behaviour_makes_another_interaction(sequenced: Any) -> None:
    found = sequenced(("a", 7, "view", 1), ("a", 7, "cart", 2))
    assert latest(found) == ["a", "a"]
    assert found.counts["interactions"]["duplicate"] == 0


@pytest.mark.parametrize(("policy", "unknown"), [("drop", 1), ("oov", 0)])
def test_unknown_items_are_dropped_or_hashed(sequenced: Any, policy: str, unknown: int) -> None:
    found = sequenced(("a", 7, "view", 1), ("zz", 8, "view", 2), unknown_items=policy)
    assert found.counts["interactions"]["unknown_item"] == unknown
    assert latest(found) == ["a", "?"][: 2 - unknown]
    if policy == "oov":
        assert histories(found)[0]["item_index"][1] == 2 + stable_hash("zz") % 4


def test_short_users_leave_no_rows(sequenced: Any) -> None:
    others = [(item, 7, "view", 1, "other") for item in "abc"]
    found = sequenced(("a", 7, "view", 1), ("b", 8, "view", 2), *others, min_length=3)
    assert found.counts["interactions"]["short_user"] == 2
    assert found.counts["interactions"]["kept"] == 3
    rows = [row for shards in found.sequences.values() for shard in shards for row in shard]
    assert {row["user_id"] for row in rows} == {"other"}
