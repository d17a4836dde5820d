"""What the service answers equals what the recommender answers."""

from pathlib import Path

import numpy as np
import pytest
from running_service import Running
from stub_bundle import LENGTH, StubRecommender

from heterrec_model.recommending.answer import Answer
from heterrec_model.recommending.history import History
from heterrec_model.service.replies import Answers, Examples, Ready, Vectors


@pytest.fixture(scope="module")
def stub(bundle: Path) -> StubRecommender:
    return StubRecommender(bundle)


def is_answer(answer: dict, wanted: Answer) -> bool:
    """The same items; scores may differ in their last bit with the number of users computed at once."""
    items = answer["items"]
    return [i["item_id"] for i in items] == wanted.item_ids and [
        i["score"] for i in items
    ] == pytest.approx(wanted.scores)


def test_users_get_what_the_recommender_finds(running: Running, stub: StubRecommender) -> None:
    status, reply = running.post("/recommend", {"users": [3, 1, 3], "k": 4, "filter_seen": True})
    assert status == 200
    Answers.model_validate(reply)
    for user, answer in zip([3, 1, 3], reply["answers"], strict=True):
        [wanted] = stub.recommend([user], k=4, filter_seen=True)
        assert answer["user"] == user
        assert is_answer(answer, wanted)
        assert answer["fallback"] is None
        assert answer["known_user"] is True
    again = running.post("/recommend", {"users": [3, 1, 3], "k": 4, "filter_seen": True})[1]
    assert again == reply  # from the cache of user vectors


def test_every_answer_names_its_bundle(running: Running, stub: StubRecommender) -> None:
    for path, body in (
        ("/recommend", {"user": 1}),
        ("/similar", {"items": ["i1"]}),
        ("/vectors", {"user": 1}),
    ):
        _, reply = running.post(path, body)
        identity = stub.identity
        assert {k: reply[k] for k in identity.model_dump()} == identity.model_dump()
        assert running.headers["x-heterrec-generation"] == identity.generation
        assert running.headers["x-heterrec-checkpoint"] == identity.checkpoint
        assert running.headers["x-heterrec-bundle"] == identity.fingerprint


def test_a_history_of_somebody_new(running: Running, stub: StubRecommender) -> None:
    items = ["i3", "i9", "gone", "i4"]
    _, reply = running.post("/recommend", {"history": {"items": items}, "k": 5})
    [answer] = reply["answers"]
    [wanted] = stub.recommend(histories=[History(items)], k=5)
    assert is_answer(answer, wanted)
    assert answer["unknown_items"] == ["gone"]
    assert (answer["fallback"], answer["known_user"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "fallback", "segment", "known", "unknown", "first"),
    [
        ({"user": 999}, "popular", None, False, [], "i0"),
        ({"user": "nobody"}, "popular", None, False, [], "i0"),
        ({"history": {"items": []}}, "popular", None, None, [], "i0"),
        ({"history": {"items": ["x", 7]}}, "popular", None, None, ["x", 7], "i0"),
        (
            {"history": {"items": [], "user_features": {"segment": "north"}}},
            *("popular_in_segment", "north", None, [], "i5"),
        ),
    ],
)
def test_without_a_history_the_answer_says_that_it_is_a_fallback(
    running: Running,
    body: dict,
    fallback: str,
    segment: str,
    known: bool,
    unknown: list,
    first: str,
) -> None:
    name = f'heterrec_fallbacks_total{{kind="{fallback}"}}'
    before = running.metric(name)
    status, reply = running.post("/recommend", body | {"k": 2})
    [answer] = reply["answers"]
    assert status == 200
    assert (answer["fallback"], answer["segment"]) == (fallback, segment)
    assert (answer["known_user"], answer["unknown_items"]) == (known, unknown)
    assert answer["items"][0]["item_id"] == first
    assert running.metric(name) == before + 1


def test_filters(running: Running) -> None:
    body = {"user": 2, "k": 1000, "where": {"colour": ["red"], "path": "food > 1"}}
    _, reply = running.post("/recommend", body | {"deny": ["i1"], "words": True})
    [answer] = reply["answers"]
    wanted = {f"i{n}" for n in range(38) if n % 2 and n % 3 == 1} - {"i1"}
    assert {item["item_id"] for item in answer["items"]} == wanted
    assert answer["items"][0]["features"] == {"colour": "red", "path": "food > 1"}
    assert running.metric("heterrec_short_answers_total") > 0
    _, reply = running.post("/recommend", {"user": 2, "allow": ["i5", "i6", "i39"]})
    assert {item["item_id"] for item in reply["answers"][0]["items"]} == {"i5", "i6"}


def test_similar_items(running: Running, stub: StubRecommender) -> None:
    _, reply = running.post("/similar", {"items": ["i1", "i2"], "k": 3, "words": True})
    Answers.model_validate(reply)
    for item, answer, wanted in zip(
        ["i1", "i2"], reply["answers"], stub.similar(["i1", "i2"], 3), strict=True
    ):
        assert answer["item"] == item
        assert is_answer(answer, wanted)
        assert "colour" in answer["items"][0]["features"]


def test_vectors(running: Running, stub: StubRecommender) -> None:
    _, reply = running.post("/vectors", {"users": [5, 777]})
    Vectors.model_validate(reply)
    [vector] = stub.vectors(stub.find([5]))
    assert reply["vectors"][0]["vector"] == pytest.approx(vector.tolist())
    assert reply["vectors"][1]["vector"] is None
    assert reply["vectors"][1]["known_user"] is False
    _, reply = running.post("/vectors", {"items": ["i7", "i3"]})
    assert [row["item"] for row in reply["vectors"]] == ["i7", "i3"]
    wanted = stub.item_vectors(["i7", "i3"])[1]
    assert np.allclose([row["vector"] for row in reply["vectors"]], wanted)
    _, reply = running.post("/vectors", {"history": {"items": ["i7"], "times": [5]}})
    assert reply["vectors"][0]["vector"] == pytest.approx(wanted[0].tolist())


def test_words_of_a_history(running: Running) -> None:
    _, reply = running.post("/recommend", {"user": 4, "words": True})
    history = reply["answers"][0]["history"]
    assert len(history) == 6 > LENGTH
    assert history[1]["time_ms"] == 1000
    assert history[0]["behaviour"] == "buy"
    assert set(history[0]["features"]) == {"colour", "path"}


def test_the_page_gets_examples(running: Running) -> None:
    _, reply = running.get("/examples")
    Examples.model_validate(reply)
    assert set(reply["users"]) <= set(range(1, 31))
    assert reply["users"]
    assert reply["items"][0]["item_id"] == "i0"


def test_health_and_readiness(running: Running) -> None:
    assert running.get("/healthz") == (200, {"status": "ok"})
    status, reply = running.get("/readyz")
    assert status == 200
    assert Ready.model_validate(reply).status == "ok"
