import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas import Generation, hash_user
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import item_in_words, overview, user_in_words
from heterrec_schemas.generation.describe import utc_text
from heterrec_schemas.generation.reader import Generation as Reader
from heterrec_schemas.manifest import SPLITS, Manifest, UserIds
from heterrec_schemas.testing import BEHAVIOURS
from heterrec_schemas.user_ids import KeyedHash


def test_an_overview_is_plain_data(rich_generation: Generation) -> None:
    part = overview(rich_generation)
    assert json.loads(json.dumps(part, allow_nan=False)) == part


def test_an_overview_tells_sizes_and_shares(generation: Generation) -> None:
    part = overview(generation)
    manifest = generation.manifest
    assert part["generation"] == manifest.generation
    assert part["root"] == generation.root
    brand = next(f for f in part["features"] if f["name"] == "brand")
    entry = next(f for f in manifest.features if f.name == "brand")
    assert brand["vocabulary_size"] == entry.vocabulary_size
    assert brand["missing"] == entry.missing > 0
    assert brand["missing_share"] == entry.missing / 60
    age = next(f for f in part["features"] if f["side"] == "user")
    assert manifest.counts.users is not None
    assert age["oov_share"] == age["oov"] / manifest.counts.users.kept
    assert part["counts"]["interactions"] == manifest.counts.interactions.model_dump()
    assert part["cuts"] == {}


def test_an_overview_lists_every_table_by_shard(rich_generation: Generation) -> None:
    tables = {t["table"]: t for t in overview(rich_generation)["tables"]}
    assert {f"sequences/{split}" for split in SPLITS} <= set(tables)
    assert tables["items/items"]["rows"] == [20, 20, 20]
    assert tables["vocabularies/item"]["row_groups"] == [1, 1]
    assert (
        sum(tables["sequences/train"]["rows"])
        == (rich_generation.manifest.counts.sequences["train"])
    )
    assert "spec.yaml" not in tables
    sizes = [f.bytes for f in rich_generation.files("items")]
    assert tables["items/items"]["bytes"] == sizes


def test_an_overview_tells_cuts_and_rejects(rich_generation: Generation) -> None:
    assert set(overview(rich_generation)["cuts"]) == {"validation_at_ms", "test_at_ms"}
    manifest = rich_generation.manifest.model_copy(
        update={"rejects": {"non_finite": 2}, "cuts": {"test_at_ms": 86_400_000}}
    )
    part = overview(Reader(rich_generation.folder, manifest, rich_generation.spec))
    assert part["rejects"] == {"non_finite": 2}
    assert part["cuts"] == {"test_at_ms": {"ms": 86_400_000, "utc": "1970-01-02T00:00:00Z"}}


# --- items


@pytest.mark.parametrize("which", ["generation", "rich_generation"])
def test_every_item_is_found_by_its_key_as_text(which: str, request: pytest.FixtureRequest) -> None:
    generation: Generation = request.getfixturevalue(which)
    trained = dict(zip(*generation.item_counts().to_pydict().values(), strict=True))
    shards = [generation.read([path]) for path in generation.item_shards()]
    for path, shard in zip(generation.item_shards(), shards, strict=True):
        for row in shard.slice(3, 4).to_pylist():
            found = item_in_words(generation, f" {row['item_id']} ")
            assert found["item_id"] == row["item_id"]
            assert found["item_index"] == row["item_index"]
            assert found["shard"] == path
            assert found["status"] == "active"
            assert found["train_count"] == trained.get(row["item_index"], 0)
            for name, cell in found["features"].items():
                assert cell.get("tokens", cell.get("token")) == row[name]
    assert [*found["features"]] == [f.name for f in generation.spec.items.features]


def test_an_unknown_item_comes_with_near_names(generation: Generation) -> None:
    key = generation.items(["item_id"])["item_id"][10].as_py()
    with pytest.raises(CallError, match=f"no item '{key}0' in the catalogue.*'{key}'"):
        item_in_words(generation, f"{key}0")
    with pytest.raises(CallError, match=f"Did you mean .*'{key}'"):
        item_in_words(generation, key.lower())


@pytest.mark.parametrize("text", ["", "  ", "Zzzz", "\ud7ff"])
def test_an_item_like_no_other_comes_with_examples(generation: Generation, text: str) -> None:
    with pytest.raises(CallError) as caught:
        item_in_words(generation, text)
    start = f"there is no item {text!r} in the catalogue. Known ones are such as "
    assert caught.value.message.startswith(start)


@pytest.mark.parametrize("text", ["x", "1.0", "{0:03d}", "+{0}", "{0}.0", "1_0", "9" * 30, "٣", ""])
def test_only_the_text_that_is_hashed_finds_an_integer_key(
    rich_generation: Generation, text: str
) -> None:
    key = rich_generation.items(["item_id"])["item_id"][0].as_py()
    assert key < 100
    with pytest.raises(CallError, match="there is no item"):
        item_in_words(rich_generation, text.format(key))


def test_an_item_that_has_left_the_catalogue_has_no_row(generation: Generation) -> None:
    manifest = generation.manifest
    files = [f for f in manifest.files if f.path != "items/items-00001-of-00002.parquet"]
    bare = Reader(generation.folder, manifest.model_copy(update={"files": files}), generation.spec)
    gone = generation.items(["item_id"])["item_id"][59].as_py()
    found = item_in_words(bare, gone)
    assert (found["item_id"], found["shard"], found["features"]) == (gone, None, {})


# --- users


@pytest.mark.parametrize("which", ["generation", "rich_generation"])
def test_every_users_sequences_are_told_in_full(which: str, request: pytest.FixtureRequest) -> None:
    generation: Generation = request.getfixturevalue(which)
    index = generation.vocabulary("item").to_pydict()
    keys = dict(zip(index["id"], index["value"], strict=True))
    rows: dict[object, dict[str, list[dict[str, Any]]]] = {}
    for split in SPLITS:
        for row in generation.sequences(split).to_pylist():
            rows.setdefault(row["user_id"], {}).setdefault(split, []).append(row)
    for user, splits in list(rows.items())[:8]:
        told = user_in_words(generation, str(user))
        assert told["user_id"] == user
        assert list(told["splits"]) == [s for s in SPLITS if s in splits]
        for split, parts in told["splits"].items():
            assert len(parts) == len(splits[split])
            for part, row in zip(parts, splits[split], strict=True):
                check_events(part["history"], row, "", keys)
                assert part.get("window") == row.get("window")
                assert ("targets" in part) == (split in ("validation", "test"))
                if "targets" in part:
                    check_events(part["targets"], row, "target_", keys)


def check_events(
    events: list[dict[str, Any]], row: dict[str, Any], prefix: str, keys: dict[int, object]
) -> None:
    assert [e["item_index"] for e in events] == row[f"{prefix}item_index"]
    assert [e["item_id"] for e in events] == [keys.get(i) for i in row[f"{prefix}item_index"]]
    assert [e["time"] for e in events] == [utc_text(t) for t in row[f"{prefix}timestamp_ms"]]
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    words = [BEHAVIOURS[b - 2] for b in row[f"{prefix}behaviour"]]
    assert [e["behaviour"] for e in events] == words
    for event in events:
        named = {"category", "brand", "path"} if event["item_id"] is not None else set()
        assert set(event["features"]) == named


def test_events_say_what_the_items_are(generation: Generation) -> None:
    user = generation.sequences("test", ["user_id"])["user_id"][0].as_py()
    told = user_in_words(generation, user)
    for event in told["splits"]["latest"][0]["history"]:
        item = item_in_words(generation, event["item_id"])
        assert event["features"] == {
            name: item["features"][name]["words"] for name in ("category", "brand", "path")
        }


def test_items_outside_the_catalogue_are_told_by_their_bucket(
    rich_generation: Generation,
) -> None:
    latest = rich_generation.sequences("latest").to_pylist()
    first = rich_generation.spec.first_item_index
    user = next(r["user_id"] for r in latest if min(r["item_index"]) < first)
    (row,) = user_in_words(rich_generation, str(user))["splits"]["latest"]
    outside = [e for e in row["history"] if e["item_id"] is None]
    assert outside
    for event in outside:
        bucket = event["item_index"] - 2
        assert event["words"] == f"(out of vocabulary, bucket {bucket} of 4)"


def test_a_users_features_are_decoded(generation: Generation) -> None:
    latest = generation.sequences("latest").to_pylist()
    known = next(row for row in latest if row["user_age"] > 1)
    unknown = next(row for row in latest if row["user_age_bin"] == 1)
    assert isinstance(user_in_words(generation, known["user_id"])["features"]["age"]["value"], int)
    features = user_in_words(generation, unknown["user_id"])["features"]
    assert features["age_bin"]["words"] == "(missing)"


def test_a_user_is_read_from_one_shard_a_split(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = generation.sequences("test", ["user_id"])["user_id"][0].as_py()
    read: set[str] = set()
    original = Reader.open_shard

    def spy(self: Reader, path: str) -> Any:
        read.add(path)
        return original(self, path)

    monkeypatch.setattr(Reader, "open_shard", spy)
    user_in_words(generation, user)
    assert len([path for path in read if path.startswith("sequences/")]) == len(SPLITS)


def test_an_unknown_user_comes_with_near_names_and_the_reason(generation: Generation) -> None:
    user = generation.sequences("latest", ["user_id"])["user_id"][0].as_py()
    with pytest.raises(CallError, match=f"no user '{user}x'. Did you mean .*'{user}'") as caught:
        user_in_words(generation, f"{user}x")
    assert caught.value.message.endswith("Users with fewer than 3 interactions are left out.")


def test_an_integer_user_is_not_found_by_other_spellings(rich_generation: Generation) -> None:
    user = rich_generation.sequences("latest", ["user_id"])["user_id"][0].as_py()
    assert isinstance(user, int)
    with pytest.raises(CallError, match="there is no user"):
        user_in_words(rich_generation, f"0{user}")


def test_near_keys_are_found_among_many(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = pa.table({"value": [f"key-{n:07d}" for n in range(200_000)]})
    original = Reader.read

    def read(self: Reader, paths: list[str], columns: Any = None) -> pa.Table:
        return many if columns == ["value"] else original(self, paths, columns)

    monkeypatch.setattr(Reader, "read", read)
    with pytest.raises(CallError, match=r"Did you mean .*'key-01234\d\d'"):
        item_in_words(generation, "key-012345x")


# --- times


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_005, "2023-11-14T22:13:20.005Z"),
        (7_258_118_399_999, "2199-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_in_words(ms: int, text: str) -> None:
    assert utc_text(ms) == text


@given(st.integers(0, 7_258_118_399_999))
def test_a_time_in_words_is_the_time(ms: int) -> None:
    moment = datetime.fromisoformat(utc_text(ms))
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == ms


def test_a_user_of_hashed_ids_is_found_by_the_id_of_the_input(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k" * 16
    user_ids = UserIds(hash_key="SHOP_KEY", fingerprint=KeyedHash(key).fingerprint)
    manifest = generation.manifest.model_copy(update={"user_ids": user_ids})
    hashed = Reader(generation.folder, manifest, generation.spec)
    user = generation.sequences("latest", ["user_id"])["user_id"][0].as_py()
    monkeypatch.delenv("SHOP_KEY", raising=False)
    assert user_in_words(hashed, user)["user_id"] == user
    with pytest.raises(CallError, match=r"no user 'x'\. User ids are hashed here: give"):
        user_in_words(hashed, "x")
    monkeypatch.setenv("SHOP_KEY", key)
    with pytest.raises(
        CallError, match=f"no user '{hash_user('x', key)}'. This is the hash of the"
    ):
        user_in_words(hashed, "x")
    assert user_in_words(hashed, user, stored=True)["user_id"] == user
    monkeypatch.setattr(KeyedHash, "user", lambda _, text: {"id of the input": user}[text])
    assert user_in_words(hashed, " id of the input ")["user_id"] == user
    other = Reader(generation.folder, _with_variable(manifest, "SHOP_KEY_2"), generation.spec)
    monkeypatch.setenv("SHOP_KEY_2", key + "!")
    with pytest.raises(CallError, match="SHOP_KEY_2 of this process holds another key"):
        user_in_words(other, user)


def _with_variable(manifest: Manifest, name: str) -> Manifest:
    assert manifest.user_ids is not None
    user_ids = manifest.user_ids.model_copy(update={"hash_key": name})
    return manifest.model_copy(update={"user_ids": user_ids})
