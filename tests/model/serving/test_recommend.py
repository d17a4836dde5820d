import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.recommending.catalogue import Catalogue
from heterrec_model.runs.load_run import load_run
from heterrec_model.serving.recommend import Recommendation, recommend
from heterrec_model.serving.recommendation_display import show_recommendation
from heterrec_model.serving.tables import items_table
from heterrec_model.training.train import train
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import item_in_words, user_in_words
from heterrec_schemas.manifest import UserIds
from heterrec_schemas.testing import Settings, shop, small_generation
from heterrec_schemas.user_ids import KeyedHash

SEEN = 3
"""Items of a history that the model sees."""


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Behaviours, user features, items outside the catalogue."""
    folder = tmp_path_factory.mktemp("shop")
    settings = Settings(unknown_items="oov", max_length=9, min_length=1)
    small_generation(folder, 0, settings=settings, goods=shop(0, users=150, interactions=1200))
    return open_generation(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, generation: Generation) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = Config.model_validate(
        {
            "model": {"width": 8, "embedding_width": 8, "max_length": SEEN, "token_blocks": 1},
            "negatives": {"in_batch": 16, "uniform": 16, "token": 16},
            "train": {"max_steps": 2, "threads": 1, "tensorboard": False, "device": "cpu"},
            "evaluation": {"chunk_items": 13},
        }
    )
    train(config, data=generation.root, run=folder, quiet=True)
    return folder


def one(*given: Any, **options: Any) -> Recommendation:
    """The only answer."""
    (found,) = recommend(*given, **options)
    return found


@pytest.fixture(scope="module")
def user(generation: Generation) -> str:
    """Someone with nine interactions."""
    rows = generation.sequences("latest", ["user_id", "item_index"]).to_pylist()
    return next(str(row["user_id"]) for row in rows if len(row["item_index"]) == 9)


def test_a_users_history_is_described_as_inspect_does(
    generation: Generation, run: Path, user: str
) -> None:
    found = one(run, generation, users=[user])
    described = user_in_words(generation, user)
    assert found.user == user
    assert found.user_features == {k: v["words"] for k, v in described["features"].items()}
    assert len(found.history) == 9
    assert found.history_used == SEEN
    for event, other in zip(
        found.history, described["splits"]["latest"][0]["history"], strict=True
    ):
        for key in ("time", "behaviour", "item_index", "item_id"):
            assert event[key] == other[key]
        if other["item_id"] is None:
            assert event["words"] == other["words"]
        else:
            assert event["features"]["brand"] == other["features"]["brand"]


def test_the_items_are_the_models_best(generation: Generation, run: Path, user: str) -> None:
    found = one(run, generation, users=[user], k=7)
    loaded = load_run(run, data=generation)
    batches = split_batches(generation, "latest", loaded.config)
    batch = next(batch for batch in batches if user in map(str, batch.user_ids))
    row = [*map(str, batch.user_ids)].index(user)
    with torch.no_grad():
        catalogue = loaded.model.table.catalogue_N
        scores = (loaded.model.user_vectors(batch) @ loaded.model.item_vectors(catalogue).T)[row]
    best = scores.topk(7)
    assert [item["score"] for item in found.items] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert found.items[0]["item_index"] == int(catalogue[best.indices[0]])
    for item in found.items:
        described = item_in_words(generation, item["item_id"])
        assert item["item_index"] == described["item_index"]
        assert item["features"]["category"] == described["features"]["category"]["words"]
        assert item["features"]["price"] == described["features"]["price"]["words"]
    assert found.checkpoint == loaded.name


def test_seen_items_can_be_left_out(generation: Generation, run: Path, user: str) -> None:
    """All that the row holds, not only what the model saw; the others keep their order."""
    everything = len(generation.items(["item_index"]))
    whole = one(run, generation, users=[user], k=everything + 5)
    left = one(run, generation, users=[user], k=everything + 5, filter_seen=True)
    history = {event["item_index"] for event in whole.history}
    assert len(whole.items) == everything
    assert history & {item["item_index"] for item in whole.items}
    assert left.seen_filtered
    assert [item["item_index"] for item in left.items] == [
        item["item_index"] for item in whole.items if item["item_index"] not in history
    ]


def test_items_make_a_history_too(generation: Generation, run: Path) -> None:
    ids = [str(i) for i in generation.items(["item_id"])["item_id"].to_pylist()[:5]]
    found = one(run, generation.root, items=ids, k=2)
    assert found.user is None
    assert [event["item_id"] for event in found.history] == ids
    assert "time" not in found.history[0]
    assert found.history_used == SEEN
    assert len(found.items) == 2
    body = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(body) == [
        *("user", "user_features", "history", "history_used", "items", "seen_filtered"),
        *("fallback", "segment", "model", "checkpoint", "generation"),
    ]
    assert list(body["items"][0]) == ["item_id", "item_index", "features", "score"]


def test_another_splits_history(generation: Generation, run: Path, user: str) -> None:
    latest = one(run, generation, users=[user])
    test = one(run, generation, users=[user], split="test")
    assert [e["item_index"] for e in test.history][-8:] == [
        e["item_index"] for e in latest.history
    ][:-1]


def test_of_a_path_and_its_prefixes_only_the_path_is_shown(generation: Generation) -> None:
    items = generation.items(["item_index"])["item_index"].to_pylist()
    for index, item in Catalogue(items_table(generation)).words(items).items():
        whole = item_in_words(generation, item["item_id"])
        values = whole["features"]["path"].get("values")
        kept = item["features"]["path"]
        assert whole["item_index"] == index
        for value in filter(None, values):
            assert any((part + " > ").startswith(value + " > ") for part in kept.split(", "))
        assert "look" not in item["features"]


def test_mistakes_are_named(generation: Generation, run: Path, user: str) -> None:
    item = str(generation.items(["item_id"])["item_id"][0])
    calls: dict[str, Callable[[], Recommendation]] = {
        "Did you mean": lambda: one(run, generation, users=[user[:-1] + "x"]),
        "there is no item": lambda: one(run, generation, items=[item, "B"]),
        f"Did you mean '{item}'": lambda: one(run, generation, items=[item.lower()]),
        "got neither": lambda: one(run, generation),
        "got both": lambda: one(run, generation, users=[user], items=[item]),
        "expected at least one": lambda: one(run, generation, items=[]),
        "k: got 0": lambda: one(run, generation, users=[user], k=0),
        "no split 'lates'": lambda: one(run, generation, users=[user], split="lates"),
    }
    for words, call in calls.items():
        with pytest.raises(CallError, match=words):
            call()


def test_a_user_who_lacks_the_split(generation: Generation, run: Path) -> None:
    latest, test = (
        set(generation.sequences(split, ["user_id"])["user_id"].to_pylist())
        for split in ("latest", "test")
    )
    absent = sorted(latest - test)
    with pytest.raises(CallError, match=r"no row in the split 'test': expected one of .*latest"):
        one(run, generation, users=[absent[0]], split="test")


@pytest.mark.parametrize("width", [200, 70])
def test_a_person_can_read_it(generation: Generation, run: Path, user: str, width: int) -> None:
    found = one(run, generation, users=[user], k=3, filter_seen=True)
    console = Console(file=StringIO(), width=width)
    show_recommendation(console, found, history=4)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert f"User {user}" in text
    assert "9 items, the last 4 shown; the model read the last 3" in text
    assert "items of the history left out" in text
    if width == 200:
        for item in found.items:
            assert str(item["item_id"]) in text
            assert item["features"]["price"] in text
        assert all(event["time"] in text for event in found.history[-4:])
    table = [line for line in text.splitlines() if not line.startswith(("User", "Hist", "Recom"))]
    assert max(map(len, table)) <= width


def test_users_of_hashed_ids_are_named_by_the_ids_of_the_input(
    generation: Generation, run: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k" * 16
    user_ids = UserIds(hash_key="SHOP_KEY", fingerprint=KeyedHash(key).fingerprint)
    manifest = generation.manifest.model_copy(update={"user_ids": user_ids})
    hashed = Generation(generation.folder, manifest, generation.spec)
    plain = one(run, generation, users=[user])
    assert one(run, hashed, users=[user]) == plain, "without the key, ids are hashes"
    monkeypatch.setenv("SHOP_KEY", key)
    with pytest.raises(CallError, match="This is the hash of the given id by the key in SHOP_KEY"):
        recommend(run, hashed, users=[user])
    monkeypatch.setattr(KeyedHash, "user", lambda _, text: {"4711": user}[text])
    assert one(run, hashed, users=[4711]) == plain
