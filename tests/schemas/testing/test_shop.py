from collections import Counter
from typing import Any, Literal

import pyarrow as pa
import pytest

from heterrec_schemas import parse_spec
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.testing import BEHAVIOURS, Settings, shop, spec_text


def test_equal_arguments_give_equal_tables() -> None:
    one, again, other = shop(3).tables(), shop(3).tables(), shop(4).tables()
    assert all(one[name].equals(again[name]) for name in one)
    assert not any(one[name].equals(other[name]) for name in one)


def test_the_sizes_are_those_asked_for() -> None:
    goods = shop(1, items=31, users=17, interactions=333, dim=8)
    assert (len(goods.items), len(goods.interactions), goods.dim) == (31, 333, 8)
    users = set(goods.interactions["user_id"].to_pylist())
    assert 10 < len(users) <= 17
    assert goods.items.schema.field("vector").type == pa.list_(pa.float32())


def test_a_width_that_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="dim: got 6, expected a multiple of 4"):
        shop(dim=6)


@pytest.mark.parametrize("integer_keys", [False, True])
def test_the_oddities_of_real_shops_are_all_there(integer_keys: bool) -> None:
    goods = shop(0, integer_keys=integer_keys)
    for column in ("brand", "price", "categories", "vector"):
        assert goods.items[column].null_count > 0, column
    brands = goods.items["brand"].to_pylist()
    assert "Unknown" in brands
    assert any(b != b.strip() for b in brands if b)
    assert not all(c.isascii() for c in goods.items["category"].to_pylist())
    assert [] in goods.items["categories"].to_pylist()
    log = goods.interactions.to_pylist()
    assert goods.interactions["event_id"].null_count > 0
    assert {row["event_type"] for row in log} == set(BEHAVIOURS)
    assert {row["item_id"] for row in log} - set(goods.items["item_id"].to_pylist())
    ties = Counter((row["user_id"], row["timestamp"]) for row in log)
    assert sum(count > 1 for count in ties.values()) > 20
    repeated = Counter(tuple(row[c] for c in row if c != "event_id") for row in log)
    assert max(repeated.values()) > 1
    known, seen = set(goods.users["user_id"].to_pylist()), {row["user_id"] for row in log}
    assert seen - known
    assert known - seen
    kind = pa.int64() if integer_keys else pa.string()
    assert goods.interactions.schema.field("item_id").type == kind
    assert goods.users.schema.field("user_id").type == kind


def test_keys_are_distinct() -> None:
    for integers in (False, True):
        goods = shop(0, integer_keys=integers)
        for table, key in ((goods.items, "item_id"), (goods.users, "user_id")):
            assert len(set(table[key].to_pylist())) == len(table)


def test_joined_details_lack_some_items_and_leave_no_lists_behind() -> None:
    goods = shop(0, joined=True)
    assert goods.details is not None
    assert len(goods.details) < len(goods.items)
    assert set(goods.details["item_id"].to_pylist()) < set(goods.items["item_id"].to_pylist())
    assert goods.details.schema.field("vector").type == pa.list_(pa.float32(), 16)
    assert goods.details["vector"].null_count == 0
    assert not any(pa.types.is_nested(field.type) for field in goods.items.schema)
    assert list(goods.tables()) == ["items", "details", "interactions", "users"]


@pytest.mark.parametrize("split", ["leave_one_out", "temporal"])
@pytest.mark.parametrize("joined", [False, True])
def test_the_spec_fits_the_tables(
    split: Literal["leave_one_out", "temporal"], joined: bool
) -> None:
    goods = shop(0, joined=joined, dim=8)
    settings = Settings(
        split=split,
        unknown_items="oov",
        train_windows="all",
        layout="flattened",
        max_length=7,
        sequence_shards=5,
        interactions_format="jsonl",
    )
    spec = parse_spec(spec_text(goods, settings))
    assert spec.split.method == split
    assert spec.output.sequence_shards == 5
    assert spec.sequences.max_length == 7
    assert spec.interactions.source.patterns == ["interactions-*.jsonl"]
    columns = {*goods.items.column_names}
    columns |= {*goods.details.column_names} if goods.details is not None else set()
    assert {f.column for f in spec.items.features} <= columns
    assert {f.column for f in spec.user_features} <= set(goods.users.column_names)
    (look,) = [f for f in spec.items.features if isinstance(f, EmbeddingFeature)]
    assert look.dim == goods.dim
    assert len(spec.items.joins) == joined


@pytest.mark.parametrize("name", ["items", "details", "interactions", "users"])
def test_formats_by_table(name: str) -> None:
    chosen: dict[str, Any] = {f"{name}_format": "jsonl.zst"}
    assert Settings(**chosen).format_of(name) == "jsonl.zst"
