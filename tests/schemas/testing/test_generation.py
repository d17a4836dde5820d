"""The rules of the contract, checked on generations that were written without the pipeline."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_schemas import Generation, open_generation, stable_hash
from heterrec_schemas.manifest import SPLITS
from heterrec_schemas.tables import items_schema, sequences_schema
from heterrec_schemas.testing import Settings, Shop, shop, small_generation
from heterrec_schemas.values import value_text

Make = Callable[..., Generation]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes and opens a generation with the given settings."""

    def write(seed: int = 0, goods: Shop | None = None, **settings: Any) -> Generation:
        small_generation(tmp_path, seed, settings=Settings(**settings), goods=goods)
        return open_generation(tmp_path)

    return write


BOTH = pytest.mark.parametrize("which", ["generation", "rich_generation"])


def by_user(generation: Generation, split: str) -> dict[Any, list[dict[str, Any]]]:
    rows: dict[Any, list[dict[str, Any]]] = {}
    for row in generation.sequences(split).to_pylist():
        rows.setdefault(row["user_id"], []).append(row)
    return rows


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (small_generation(tmp_path / name, 5) for name in ("one", "two"))
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    goods = shop(2)
    order = np.random.default_rng(0)
    turned = replace(
        goods,
        items=goods.items.take(pa.array(order.permutation(len(goods.items)))),
        interactions=goods.interactions.take(pa.array(order.permutation(len(goods.interactions)))),
        users=goods.users.take(pa.array(order.permutation(len(goods.users)))),
    )
    contents = {
        open_generation(small_generation(tmp_path / str(n), 2, goods=g)).manifest.content_sha256
        for n, g in enumerate((goods, turned))
    }
    assert len(contents) == 1


@BOTH
def test_every_table_has_its_schema(which: str, request: pytest.FixtureRequest) -> None:
    generation: Generation = request.getfixturevalue(which)
    spec, whole = generation.spec, which != "generation"
    items = [f for f in generation.manifest.features if f.side == "item"]
    users = [f for f in generation.manifest.features if f.side == "user"]
    pairs = [(generation.items(), items_schema(spec, integral=whole, entries=items))]
    for split in SPLITS:
        entries = items + users if spec.output.layout == "flattened" else users
        wanted = sequences_schema(spec, split, integral=whole, entries=entries)
        pairs.append((generation.sequences(split), wanted))
    for table, wanted in pairs:
        # Parquet calls the inner field of a list `element`, Arrow `item`; both are metadata here.
        assert table.schema.equals(wanted)
        assert table.schema.metadata == wanted.metadata


@BOTH
def test_the_counts_are_identities(which: str, request: pytest.FixtureRequest) -> None:
    counts = request.getfixturevalue(which).manifest.counts
    log = counts.interactions
    others = (log.kept, log.unknown_item, log.duplicate, log.short_user, log.rejected)
    assert log.read == sum(others)
    assert counts.items.read == counts.items.kept + counts.items.rejected
    assert log.duplicate > 0
    assert log.short_user > 0


@BOTH
def test_users_stand_in_the_shard_and_order_of_their_hash(
    which: str, request: pytest.FixtureRequest
) -> None:
    generation: Generation = request.getfixturevalue(which)
    for split in SPLITS:
        paths = generation.sequence_shards(split)
        for shard, path in enumerate(paths):
            rows = generation.read([path]).to_pylist()
            places = [
                (stable_hash(str(r["user_id"])), str(r["user_id"]), r.get("window", 0))
                for r in rows
            ]
            assert places == sorted(places)
            assert all(place[0] % len(paths) == shard for place in places)


def test_the_last_interaction_is_left_out(make: Make) -> None:
    generation = make(max_length=1000, min_length=1)
    latest, test = by_user(generation, "latest"), by_user(generation, "test")
    validation, train = by_user(generation, "validation"), by_user(generation, "train")
    short = 0
    for user, (row,) in latest.items():
        events = list(zip(row["item_index"], row["timestamp_ms"], row["behaviour"], strict=True))
        assert row["timestamp_ms"] == sorted(row["timestamp_ms"])
        short += len(events) < 3
        assert (user in test) == (user in validation) == (len(events) >= 3)
        if user in test:
            assert test[user][0]["target_item_index"] == row["item_index"][-1:]
            assert test[user][0]["item_index"] == row["item_index"][:-1]
            assert validation[user][0]["target_timestamp_ms"] == row["timestamp_ms"][-2:-1]
            assert validation[user][0]["item_index"] == row["item_index"][:-2]
        rest = row["item_index"][:-2] if user in test else row["item_index"]
        assert (user in train) == (len(rest) >= 2)
        if user in train:
            assert train[user][0]["item_index"] == rest
    assert short > 0


@pytest.mark.parametrize("targets", ["all", "next", "last"])
def test_time_cuts_separate_the_splits(make: Make, targets: str) -> None:
    generation = make(split="temporal", targets=targets, max_length=1000)
    cuts = generation.manifest.cuts
    ends = {
        "validation": (cuts["validation_at_ms"], cuts["test_at_ms"]),
        "test": (cuts["test_at_ms"], 2**62),
    }
    latest = {user: rows[0] for user, rows in by_user(generation, "latest").items()}
    assert all(
        max(row["timestamp_ms"]) < cuts["validation_at_ms"]
        for (row,) in by_user(generation, "train").values()
    )
    for split, (start, stop) in ends.items():
        found = by_user(generation, split)
        assert found
        for user, (row,) in found.items():
            times = latest[user]["timestamp_ms"]
            inside = [n for n, t in enumerate(times) if start <= t < stop]
            picked = {"all": inside, "next": inside[:1], "last": inside[-1:]}[targets]
            history = inside[-1] if targets == "last" else inside[0]
            assert row["target_item_index"] == [latest[user]["item_index"][n] for n in picked]
            assert row["item_index"] == latest[user]["item_index"][:history]


def test_the_cuts_are_the_first_days_that_hold_their_part(make: Make) -> None:
    generation = make(split="temporal", max_length=1000)
    times = [t for r in generation.sequences("latest").to_pylist() for t in r["timestamp_ms"]]
    for name, part in (("validation_at_ms", 0.7), ("test_at_ms", 0.85)):
        cut = generation.manifest.cuts[name]
        assert cut % 86_400_000 == 0
        assert sum(t < cut for t in times) >= part * len(times)
        assert sum(t < cut - 86_400_000 for t in times) < part * len(times)


def test_windows_make_up_the_whole_training_history(make: Make) -> None:
    whole = by_user(make(max_length=1000), "train")
    windows = by_user(make(max_length=3, train_windows="all"), "train")
    assert windows.keys() == whole.keys()
    for user, rows in windows.items():
        assert [row["window"] for row in rows] == list(range(len(rows)))
        joined = [i for row in reversed(rows) for i in row["item_index"]]
        history = whole[user][0]["item_index"]
        # A rest of one interaction is left out.
        assert joined == history[len(history) % 3 == 1 and len(history) > 1 :]
    last = by_user(make(max_length=3), "train")
    assert all(last[u][0]["item_index"] == whole[u][0]["item_index"][-3:] for u in whole)


def test_items_are_counted_over_whole_training_histories(make: Make) -> None:
    whole = Counter(
        i for row in make(max_length=1000).sequences("train").to_pylist() for i in row["item_index"]
    )
    counted = make(max_length=2).item_counts().to_pydict()
    assert counted == {
        "item_index": sorted(whole),
        "train_count": [whole[i] for i in sorted(whole)],
    }


def test_items_outside_the_catalogue_are_history_and_never_targets(
    rich_generation: Generation,
) -> None:
    first = rich_generation.spec.first_item_index
    assert first == 6
    histories = [
        i for r in rich_generation.sequences("latest").to_pylist() for i in r["item_index"]
    ]
    assert 2 <= min(histories) < first
    for split in ("validation", "test"):
        rows = rich_generation.sequences(split).to_pylist()
        assert min(i for r in rows for i in r["target_item_index"]) >= first
    assert rich_generation.manifest.counts.interactions.unknown_item == 0


def test_flattened_sequences_repeat_the_tokens_of_their_items(
    rich_generation: Generation,
) -> None:
    items = {row["item_index"]: row for row in rich_generation.items().to_pylist()}
    absent = {"category": 1, "brand": 1, "path": [1], "price": 1, "look": [1] * 4}
    for row in rich_generation.sequences("train").to_pylist():
        for name, missing in absent.items():
            wanted = [items[i][name] if i in items else missing for i in row["item_index"]]
            assert row[f"item_{name}"] == wanted


def test_item_ids_are_numbered_by_value_inside_a_shard(rich_generation: Generation) -> None:
    rows = rich_generation.vocabulary("item").to_pylist()
    places = [(stable_hash(str(r["value"])) % 2, r["value"]) for r in rows]
    assert places == sorted(places)
    assert all(r["count"] == 1 and r["status"] == "active" for r in rows)


def test_every_shard_of_a_vocabulary_exists(make: Make) -> None:
    generation = make(goods=shop(0, items=3, interactions=60), item_vocabulary_shards=9)
    rows = [len(generation.read([path])) for path in generation.vocabulary_shards("item")]
    assert len(rows) == 9
    assert sum(rows) == 3


@pytest.mark.parametrize("joined", [False, True])
def test_keys_are_integers_unless_they_came_as_text(make: Make, joined: bool) -> None:
    goods = shop(1, integer_keys=True, joined=joined)
    made = make(1, goods, items_format="csv" if joined else "jsonl", interactions_format="csv")
    kind = pa.string() if joined else pa.int64()
    assert made.items().schema.field("item_id").type == kind
    assert made.vocabulary("item").schema.field("value").type == kind
    assert made.sequences("train").schema.field("user_id").type == pa.string()
    assert made.vocabulary("user_age").schema.field("value").type == pa.int64()


def test_long_lists_are_cut(generation: Generation) -> None:
    cells = generation.items()["path"].to_pylist()
    assert max(map(len, cells)) == 3
    prefixes = [
        {" > ".join(path[: n + 1]) for path in paths or [] for n in range(len(path))}
        for paths in shop(0).items["categories"].to_pylist()
    ]
    assert max(map(len, prefixes)) > 3


def test_missing_and_unknown_values_are_counted(generation: Generation) -> None:
    entries = {f.name: f for f in generation.manifest.features}
    items = generation.items()
    brands = [value_text(b) for b in shop(0).items["brand"].to_pylist()]
    times = Counter(brands)
    assert entries["brand"].missing == sum(b in (None, "Unknown") for b in brands)
    assert entries["brand"].oov == sum(times[b] == 1 for b in brands if b not in (None, "Unknown"))
    for name, missing in (("path", [1]), ("price", 1), ("look", [1] * 4)):
        cells = items[name].to_pylist()
        assert entries[name].missing == sum(cell == missing for cell in cells) > 0


def test_users_without_a_row_have_missing_tokens(generation: Generation) -> None:
    known = set(shop(0).users["user_id"].to_pylist())
    rows = generation.sequences("latest").to_pylist()
    strangers = [row for row in rows if row["user_id"] not in known]
    assert strangers
    assert all(row["user_age"] == row["user_age_bin"] == 1 for row in strangers)


def test_files_are_zstd_with_statistics(output: Path) -> None:
    for path in output.rglob("*.parquet"):
        with pq.ParquetFile(path) as shard:
            for group in range(shard.metadata.num_row_groups):
                column = shard.metadata.row_group(group).column(0)
                assert column.compression == "ZSTD"
                assert column.is_stats_set or column.num_values == 0


def test_row_groups_are_the_contracts(make: Make) -> None:
    goods = shop(0, items=8_300, interactions=100, dim=4)
    generation = make(0, goods, item_shards=1)
    with generation.open_shard(generation.item_shards()[0]) as shard:
        sizes = [shard.metadata.row_group(g).num_rows for g in range(2)]
    assert sizes == [8_192, 108]
    with generation.open_shard(generation.vocabulary_shards("item")[0]) as shard:
        assert shard.metadata.num_row_groups == 1


def test_shards_of_items_differ_by_one_at_most(make: Make) -> None:
    generation = make(item_shards=7)
    sizes = [f.rows for f in generation.files("items")]
    assert len(sizes) == 7
    assert {8, 9} == set(sizes)
