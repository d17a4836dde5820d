"""The recommender of a run and that of its bundle, against brute force and against each other."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch
from plain_repeats import plain_term

from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.recommending.answer import Answer
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.recommender import Recommender as AnyRecommender
from heterrec_model.retrieval.exact import Floats
from heterrec_model.serving.recommender import Recommender
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation.decode import decode_cells

BOTH = ["from_run", "from_bundle"]


@pytest.fixture(params=BOTH)
def served(request: pytest.FixtureRequest) -> AnyRecommender:
    found: AnyRecommender = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def users(served_shop: Generation) -> list[Key]:
    found: list[Key] = served_shop.sequences("latest", ["user_id"])["user_id"].to_pylist()
    return found


def category_of(generation: Generation) -> dict[Key, str]:
    items = generation.items(["item_id", "category"])
    cells = decode_cells(generation, "category", items["category"].to_pylist())
    return dict(zip(items["item_id"].to_pylist(), [cell["value"] for cell in cells], strict=True))


def brute_force(
    recommender: Recommender, users: Sequence[Key], k: int, allowed: set[Key], *, seen: bool
) -> list[list[Key]]:
    """The k best of the allowed items, from the vectors and the repeat term."""
    item_ids, items_ND = recommender.item_vectors()
    ids, vectors = recommender.user_vectors()
    rows = {user: row for row, user in enumerate(ids)}
    histories = recommender.find(users)
    index = dict(zip(recommender.catalogue.item_index_N.tolist(), item_ids, strict=True))
    answers = []
    for user, history in zip(users, histories, strict=True):
        assert history is not None
        had = {index.get(i) for i in history.item_T.tolist()} if seen else set()
        scores = plain_scores(recommender, history, items_ND, vectors[rows[user]])
        order = [item_ids[place] for place in np.argsort(-scores, kind="stable")]
        answers.append([item for item in order if item in allowed and item not in had][:k])
    return answers


def plain_scores(
    recommender: Recommender, history: EncodedHistory, items_ND: Floats, user_D: Floats
) -> Floats:
    """The scores of the catalogue, one own item at a time."""
    model, scores = recommender.loaded.model, items_ND @ user_D
    assert model.repeats is not None
    events = list(zip(history.item_T.tolist(), history.time_T.tolist(), strict=True))
    for row, item in enumerate(recommender.catalogue.item_index_N.tolist()[: len(items_ND)]):
        if item in history.item_T:
            popularity = int(model.table.train_count_I[item])
            vectors = torch.from_numpy(user_D), torch.from_numpy(items_ND[row].copy())
            term = plain_term(model.repeats, events, item, popularity, *vectors)
            scores[row] += model.config.loss.temperature * term
    return scores


def ids_of(answers: Sequence[Answer]) -> list[list[Key]]:
    return [answer.item_ids for answer in answers]


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("filters", ["none", "where", "allow", "deny", "all"])
def test_filters_against_brute_force(
    served: AnyRecommender,
    from_run: Recommender,
    served_shop: Generation,
    users: list[Key],
    filters: str,
    filter_seen: bool,
) -> None:
    categories = category_of(served_shop)
    everything = [*categories]
    options: dict[str, Any] = {}
    allowed = {*everything}
    if filters in ("where", "all"):
        wanted = sorted({c for c in categories.values() if c is not None})[:2]
        options["where"] = {"category": wanted}
        allowed &= {item for item, category in categories.items() if category in wanted}
    if filters in ("allow", "all"):
        options["allow"] = everything[:40]
        allowed &= {*everything[:40]}
    if filters in ("deny", "all"):
        options["deny"] = everything[5:15]
        allowed -= {*everything[5:15]}
    chosen = users[:20]
    found = served.recommend(chosen, k=9, filter_seen=filter_seen, **options)
    assert ids_of(found) == brute_force(from_run, chosen, 9, allowed, seen=filter_seen)
    for answer in found:
        assert answer.fallback is None
        assert answer.known_user
        assert answer.scores == sorted(answer.scores, reverse=True)


def test_own_items_of_any_history_have_the_scores_of_the_model(
    served: AnyRecommender, from_run: Recommender
) -> None:
    """Items that are retired, unknown, alone, many times; equal times, or none."""
    random = np.random.default_rng(0)
    known, vocabulary = served.catalogue.item_index_N, from_run.loaded.model.table.trained_I
    items_ND, repeats = served.item_vectors()[1], served.repeats
    assert repeats is not None
    lengths = [1, 1, 2, 5, 40, 200]
    for length in lengths:
        item_T = random.choice([*known[:9], *range(1, 4), len(vocabulary) - 1], length)
        steps = random.choice([0, 1, 3_000, 86_400_000, 10**10], length)
        time_T = np.zeros(length, np.int64) if length == 5 else steps.cumsum()
        history = EncodedHistory(item_T.astype(np.int64), time_T, None, {})
        user_D = random.standard_normal(items_ND.shape[1]).astype(np.float32)
        row_P, score_P = repeats.of(history, user_D, items_ND, served.catalogue)
        own = {i for i in item_T.tolist() if i in set(known.tolist())}
        assert known[row_P].tolist() == sorted(own)
        wanted = plain_scores(from_run, history, items_ND, user_D)[row_P]
        np.testing.assert_allclose(score_P, wanted, rtol=1e-4, atol=1e-4)


def test_both_have_equal_vectors(from_run: Recommender, from_bundle: BundleRecommender) -> None:
    ids, vectors = from_run.user_vectors()
    histories = from_bundle.find(ids)
    encoded = from_bundle.vectors([h for h in histories if h is not None])
    assert np.abs(encoded - vectors).max() < 1e-5
    again = from_run.vectors([h for h in from_run.find(ids) if h is not None])
    assert np.abs(again - vectors).max() < 1e-5
    assert from_run.item_vectors()[0] == from_bundle.item_vectors()[0]
    assert np.array_equal(from_run.item_vectors()[1], from_bundle.item_vectors()[1])


def test_ranks_are_those_of_the_evaluation(
    from_run: Recommender, served_run: Any, served_shop: Generation
) -> None:
    """Recall at 5 from answers on the histories of the test split is that of `evaluate`."""
    rows = served_shop.sequences("test", ["user_id", "target_item_index"]).to_pylist()
    users = [row["user_id"] for row in rows]
    answers = from_run.answer(users, from_run.find(users, "test"), 5, _no_filters())
    recalls = []
    for row, answer in zip(rows, answers, strict=True):
        targets = {*row["target_item_index"]}
        recalls.append(len(targets & {*answer.item_index}) / len(targets))
    evaluated = evaluate_run(served_run, served_shop, "test", ks=[5], candidates="all")
    assert np.mean(recalls) == pytest.approx(evaluated.metrics["recall@5"], abs=1e-9)


def _no_filters() -> Any:
    from heterrec_model.recommending.answer import Filters

    return Filters()


def test_a_history_is_answered_as_its_user(served: AnyRecommender, users: list[Key]) -> None:
    """A person nobody has seen, with the history and features of a user."""
    histories = served.find(users)
    generation_items = {
        index: key
        for key, index in zip(
            served.item_vectors()[0], served.catalogue.item_index_N.tolist(), strict=True
        )
    }
    for history in histories:
        assert history is not None
        if len(history) > 3 and all(i in generation_items for i in history.item_T.tolist()):
            break
    names = ["view", "cart", "purchase"]
    given = History(
        items=[generation_items[i] for i in history.item_T.tolist()],
        times=[datetime.fromtimestamp(t / 1000, UTC) for t in history.time_T.tolist()],
        behaviours=[names[b - 2] for b in history.behaviour_T.tolist()],
    )
    translated = served.translate(given)
    assert np.array_equal(translated.item_T, history.item_T)
    assert np.array_equal(translated.time_T, history.time_T)
    assert np.array_equal(translated.behaviour_T, history.behaviour_T)
    (answer,) = served.recommend(histories=[given], k=4)
    assert answer.user is None
    assert len(answer.item_ids) == 4


def test_who_has_no_history_gets_popular_items(
    served: AnyRecommender, served_shop: Generation
) -> None:
    items = served_shop.sequences("latest", ["item_index"])["item_index"].combine_chunks().flatten()
    counts = np.bincount(items.to_numpy(), minlength=int(served.catalogue.item_index_N[-1]) + 1)
    own = counts[served.catalogue.item_index_N]
    best = [served.item_vectors()[0][place] for place in np.argsort(-own, kind="stable")]
    stranger, empty, unknown = (
        served.recommend(["nobody"], k=5)[0],
        served.recommend(histories=[History(items=[])], k=5)[0],
        served.recommend(histories=[History(items=["no such item"])], k=5)[0],
    )
    for answer in (stranger, empty, unknown):
        assert answer.fallback == "popular"
        assert answer.item_ids == best[:5]
        assert answer.scores == sorted(own, reverse=True)[:5]
    assert stranger.known_user is False
    assert unknown.unknown_items == ("no such item",)
    denied = served.recommend(["nobody"], k=500, deny=best[:3])[0]
    assert denied.item_ids == best[3:]


def test_similar_items(served: AnyRecommender) -> None:
    ids, vectors = served.item_vectors()
    scores = vectors @ vectors[7]
    scores[7] = -np.inf
    wanted = [ids[place] for place in np.argsort(-scores, kind="stable")[:6]]
    assert served.similar([ids[7]], 6)[0].item_ids == wanted


MISTAKES: dict[str, dict[str, Any]] = {
    "got neither": {},
    "got both": {"users": ["u1"], "histories": []},
    "k: got 0": {"users": ["u1"], "k": 0},
    "there is no feature 'categori' to filter by": {"where": {"categori": "Hair"}},
    "no item has 'Hairy' as category": {"where": {"category": "Hairy"}},
    "allow: there is no item 'I'": {"allow": ["I"]},
    "deny: there is no item 5": {"deny": [5]},
    "times: got 1, expected one for each of 2 items": {
        "histories": [History(items=["a", "b"], times=[1])]
    },
    "an earlier one": {"histories": [History(items=["a", "b"], times=[2, 1])]},
    "got 'yesterday'": {"histories": [History(items=["a"], times=["yesterday"])]},
    "there is no behaviour 'buy'": {"histories": [History(items=["a"], behaviours=["buy"])]},
    "there is no user feature 'aeg'": {
        "histories": [History(items=["a"], user_features={"aeg": 1})]
    },
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_named(from_bundle: BundleRecommender, words: str) -> None:
    options = {**MISTAKES[words]}
    if words != "got neither" and "histories" not in options:
        options.setdefault("users", ["u1"])
    with pytest.raises(CallError, match=words):
        from_bundle.recommend(**options)
