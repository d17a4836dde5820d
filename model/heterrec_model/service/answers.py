"""The answers to requests, computed in one thread from one bundle.

Shapes: B users, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from heterrec_model.recommending.answer import Answer, Filters
from heterrec_model.recommending.history import EncodedHistory, Key
from heterrec_model.service.bodies import RecommendBody, SimilarBody, VectorsBody
from heterrec_model.service.live import Current, KnownUser, Live
from heterrec_model.service.metrics import Metrics

EVENTS_SHOWN = 50
"""Number of items of a history in words."""
FIRST_BEHAVIOUR = 2
"""Id of the first behaviour of a generation."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reply:
    """A finished answer: JSON, and headers that name the bundle."""

    body: bytes
    headers: dict[str, str]


class Answers:
    """Computes answers; each takes the bundle in use once, at its start.

    Args:
        current: holds the bundle in use.
        metrics: of the service.
    """

    def __init__(self, current: Current, metrics: Metrics) -> None:
        self._current = current
        self._metrics = metrics

    def recommend(self, body: RecommendBody) -> Reply:
        """Items for users, or after a history.

        Raises:
            CallError: an id, a feature, a value or a time is wrong.
        """
        live = self._current.live
        users, known = self._known(live, body.who(), body)
        histories = [one.history for one in known]
        vectors = [one.vector_D for one in known if one.vector_D is not None]
        filters = Filters(body.allow, body.deny, body.where, body.filter_seen)
        with self._metrics.stage("search"):
            found = live.recommender.answer(
                users, histories, body.k, filters, vectors_BD=_stack(live, vectors)
            )
        self._count(found, body.k)
        with self._metrics.stage("write"):
            answers = [_plain(answer) for answer in found]
            if body.words:
                for answer, history in zip(answers, histories, strict=True):
                    _describe(live, answer, history)
            return _reply(live, answers=answers)

    def similar(self, body: SimilarBody) -> Reply:
        """Items like some items.

        Raises:
            CallError: an id, a feature or a value is wrong.
        """
        live = self._current.live
        with self._metrics.stage("search"):
            found = live.recommender.similar(
                body.items, body.k, allow=body.allow, deny=body.deny, where=body.where
            )
        self._count(found, body.k)
        with self._metrics.stage("write"):
            answers = [
                {"item": item, "items": _plain(answer)["items"]}
                for item, answer in zip(body.items, found, strict=True)
            ]
            if body.words:
                for one in answers:
                    _describe(live, one, None)
            return _reply(live, answers=answers)

    def vectors(self, body: VectorsBody) -> Reply:
        """Vectors of users, a history or items.

        Raises:
            CallError: an id, a feature, a value or a time is wrong.
        """
        live = self._current.live
        width = live.info.width
        if body.items is not None:
            ids, vectors = live.recommender.item_vectors(body.items)
            with self._metrics.stage("write"):
                rows = [
                    {"item": item, "vector": np.ascontiguousarray(vector)}
                    for item, vector in zip(ids, vectors, strict=True)
                ]
                return _reply(live, width=width, vectors=rows)
        users, known = self._known(live, body.who(), body)
        with self._metrics.stage("write"):
            rows = []
            for user, one in zip(users, known, strict=True):
                unknown = () if one.history is None else one.history.unknown
                row: dict[str, Any] = {"unknown_items": unknown, "vector": one.vector_D}
                if user is not None:
                    row |= {"user": user, "known_user": one.history is not None}
                rows.append(row)
            return _reply(live, width=width, vectors=rows)

    def examples(self, random: Callable[[int], int]) -> Reply:
        """Users and items for the page; `random(n)` draws a number below n."""
        live = self._current.live
        catalogue = live.recommender.catalogue
        counts = live.recommender.popular.counts_N
        best = np.argsort(-counts, kind="stable")[:20]
        words = catalogue.words(catalogue.item_index_N[best])
        users = live.examples
        drawn = sorted({random(len(users)) for _ in range(20)}) if users else []
        return _reply(
            live,
            users=[users[place] for place in drawn],
            items=[words[index] for index in catalogue.item_index_N[best].tolist()],
            features=catalogue.features,
            behaviours=live.info.behaviours,
        )

    def _known(
        self, live: Live, users: Sequence[Key] | None, body: RecommendBody | VectorsBody
    ) -> tuple[Sequence[Key | None], list[KnownUser]]:
        """The users with histories and vectors, from the cache or the model."""
        recommender = live.recommender
        with self._metrics.stage("encode"):
            if users is None:
                assert body.history is not None
                history = recommender.translate(body.history.history())
                vectors_BD = recommender.vectors([history] if len(history) else [])
                self._metrics.user_vectors(0, len(vectors_BD))
                return [None], [KnownUser(history, vectors_BD[0] if len(history) else None)]
            cached = {user: live.users.get(user) for user in users}
            missing = [user for user, known in cached.items() if known is None]
            if missing:
                histories = recommender.find(missing)
                vectors_BD = recommender.vectors([h for h in histories if h])
                encoded = iter(vectors_BD)
                for user, found in zip(missing, histories, strict=True):
                    known = KnownUser(found, next(encoded) if found else None)
                    cached[user] = known
                    live.users.put(user, known)
                self._metrics.user_vectors(0, len(vectors_BD))
            self._metrics.user_vectors(len(cached) - len(missing), 0)
            return users, [one for user in users if (one := cached[user]) is not None]

    def _count(self, answers: Sequence[Answer], k: int) -> None:
        for answer in answers:
            if answer.fallback is not None:
                self._metrics.fell_back(answer.fallback)
            if len(answer.item_ids) < k:
                self._metrics.short_answer()


def _stack(live: Live, vectors: Sequence[Floats]) -> Floats:
    if not vectors:
        return np.zeros((0, live.info.width), np.float32)
    return np.stack(vectors)


def _plain(answer: Answer) -> dict[str, Any]:
    """An answer without the names of its bundle, which the whole reply has once."""
    columns = zip(answer.item_ids, answer.item_index, answer.scores, strict=True)
    return {
        "user": answer.user,
        "items": [{"item_id": i, "item_index": n, "score": s} for i, n, s in columns],
        "fallback": answer.fallback,
        "segment": answer.segment,
        "known_user": answer.known_user,
        "unknown_items": answer.unknown_items,
    }


def _describe(live: Live, answer: dict[str, Any], history: EncodedHistory | None) -> None:
    """Add features in words to the items of an answer, and its history."""
    catalogue = live.recommender.catalogue
    shown = [] if history is None else history.item_T[-EVENTS_SHOWN:].tolist()
    words = catalogue.words([item["item_index"] for item in answer["items"]] + shown)
    for item in answer["items"]:
        item["features"] = words[item["item_index"]]["features"]
    if history is None:
        return
    events = []
    for place, index in enumerate(shown, len(history) - len(shown)):
        event = {"item_id": None, "item_index": index, "features": None} | words.get(index, {})
        event["time_ms"] = int(history.time_T[place])
        if history.behaviour_T is not None:
            event["behaviour"] = _behaviour(live, int(history.behaviour_T[place]))
        events.append(event)
    answer["history"] = events


def _behaviour(live: Live, number: int) -> str | None:
    place = number - FIRST_BEHAVIOUR
    return live.info.behaviours[place] if 0 <= place < len(live.info.behaviours) else None


def _reply(live: Live, **fields: Any) -> Reply:
    body = fields | live.recommender.identity.model_dump()
    return Reply(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), live.headers)
