"""Recommendations, similar items and vectors; the same for a run in PyTorch and for a bundle.

Shapes: B users, N items of the catalogue, D width, K items of an answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.files import Identity
from heterrec_model.recommending.answer import POPULAR, POPULAR_IN_SEGMENT, Answer, Filters
from heterrec_model.recommending.catalogue import NO_ROW, Catalogue
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.own_items import RepeatScores
from heterrec_model.recommending.popular import PopularItems
from heterrec_model.retrieval.exact import NONE, TopItems, best_first
from heterrec_model.retrieval.search import Searcher
from heterrec_schemas.errors import CallError, RunError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MOST_ITEMS = 2**20
"""Largest k."""


class Recommender(ABC):
    """Answers from user vectors, item vectors and filters. Subclasses say how users are found and encoded.

    Attributes:
        catalogue: the items: ids, values of their features.
        searcher: finds the best items for user vectors.
        popular: the items for users without a history.
        repeats: scores of items that a user had before; None if the model has no repeat term.
        identity: generation, model, checkpoint and bundle.
    """

    catalogue: Catalogue
    searcher: Searcher
    popular: PopularItems
    repeats: RepeatScores | None = None
    identity: Identity

    @abstractmethod
    def encode(self, histories: Sequence[EncodedHistory]) -> Floats:
        """The user vectors of some histories with at least one item each, float32 [B, D]."""

    @abstractmethod
    def find(self, users: Sequence[Key]) -> list[EncodedHistory | None]:
        """The histories of some users; None for a user without one."""

    @abstractmethod
    def translate(self, history: History) -> EncodedHistory:
        """A caller's history in the ids of the generation.

        Raises:
            CallError: a time, a behaviour or a user feature is wrong.
        """

    def recommend(
        self,
        users: Sequence[Key] | None = None,
        histories: Sequence[History] | None = None,
        k: int = 10,
        *,
        allow: Sequence[Key] | None = None,
        deny: Sequence[Key] = (),
        where: Mapping[str, Key | Sequence[Key]] | None = None,
        filter_seen: bool = False,
    ) -> list[Answer]:
        """The best items for some users, or after some histories.

        Users without a history, and histories without a known item, get popular items; `Answer.fallback` says so.

        Args:
            users: ids of users.
            histories: of people who need not be in the generation.
            k: number of items; fewer only if fewer are allowed.
            allow: ids of items that may be recommended; None allows the catalogue.
            deny: ids of items that are left out.
            where: values by feature that an item must have; see `Filters`.
            filter_seen: leave out all items of the history.

        Raises:
            CallError: neither or both of users and histories are given, k is out of range, or an id, a feature or a value
                does not exist.
            RunError: a user vector is not finite.
        """
        if (users is None) == (histories is None):
            got = "neither" if users is None else "both"
            raise CallError("recommend", got=got, expected="either users or histories")
        filters = Filters(allow, deny, where, filter_seen)
        if users is not None:
            return self.answer(users, self.find(users), k, filters)
        translated = [self.translate(history) for history in histories or ()]
        return self.answer([None] * len(translated), translated, k, filters)

    def answer(
        self,
        users: Sequence[Key | None],
        histories: Sequence[EncodedHistory | None],
        k: int,
        filters: Filters,
        *,
        vectors_BD: Floats | None = None,
    ) -> list[Answer]:
        """The answers to some users with their histories: `recommend` after its input has been translated.

        Args:
            users: ids, None for a history of nobody.
            histories: None for a user without one.
            k: number of items.
            filters: which items are allowed.
            vectors_BD: vectors of the users who have a history with items, if they are known already, in order.
        """
        _check_k(k)
        allowed_N = self.allowed(filters)
        allowed = None if allowed_N is None else np.flatnonzero(allowed_N)
        denied = self.catalogue.positions(filters.deny, "deny")
        known = [
            row for row, history in enumerate(histories) if history is not None and len(history)
        ]
        own = [history for history in histories if history is not None and len(history)]
        hidden = [self._hidden(history, denied, filters) for history in histories]
        if vectors_BD is None:
            vectors_BD = self.vectors(own)
        found = self.top(vectors_BD, own, k, allowed, [hidden[row] for row in known])
        places = dict(zip(known, range(len(known)), strict=True))
        answers = []
        for row, (user, history) in enumerate(zip(users, histories, strict=True)):
            fallback = segment = None
            if row in places:
                position, score = found.position_BK[places[row]], found.score_BK[places[row]]
            else:
                wanted = None if history is None else history.segment
                segment = wanted if wanted in self.popular.segments else None
                fallback = POPULAR if segment is None else POPULAR_IN_SEGMENT
                position, score = self.popular.top(segment, k, allowed_N, hidden[row])
            answers.append(
                self._answer(
                    position,
                    score,
                    user=user,
                    fallback=fallback,
                    segment=segment,
                    known_user=None if user is None else history is not None,
                    unknown_items=() if history is None else history.unknown,
                )
            )
        return answers

    def top(
        self,
        vectors_BD: Floats,
        histories: Sequence[EncodedHistory],
        k: int,
        allowed: Ints | None,
        hidden: Sequence[Ints],
    ) -> TopItems:
        """The k best items of some users: by the similarity, and by the repeat term for items that they had before.

        Args:
            vectors_BD: vectors of the users.
            histories: of the users, with at least one item each.
            k: number of items.
            allowed: rows of the items that may be found, ascending; None allows all.
            hidden: for every user, rows that are left out.
        """
        if self.repeats is None:
            return self.searcher.top(vectors_BD, k, allowed=allowed, hidden=hidden)
        items_ND = self.searcher.items_ND
        own = [
            self.repeats.of(history, vector_D, items_ND, self.catalogue)
            for history, vector_D in zip(histories, vectors_BD, strict=True)
        ]
        left_out = [np.union1d(rows, row_P) for rows, (row_P, _) in zip(hidden, own, strict=True)]
        others = self.searcher.top(vectors_BD, k, allowed=allowed, hidden=left_out)
        position_BK, score_BK = others.position_BK.copy(), others.score_BK.copy()
        for row, (row_P, score_P) in enumerate(own):
            kept_P = ~np.isin(row_P, hidden[row])
            if allowed is not None:
                kept_P &= np.isin(row_P, allowed)
            best = best_first(
                np.concatenate([others.position_BK[row], row_P[kept_P]])[None],
                np.concatenate([others.score_BK[row], score_P[kept_P]])[None],
                k,
            )
            position_BK[row], score_BK[row] = best.position_BK[0], best.score_BK[0]
        return TopItems(position_BK, score_BK)

    def similar(
        self,
        items: Sequence[Key],
        k: int = 10,
        *,
        allow: Sequence[Key] | None = None,
        deny: Sequence[Key] = (),
        where: Mapping[str, Key | Sequence[Key]] | None = None,
    ) -> list[Answer]:
        """The items whose vectors have the largest dot products with those of some items, which are left out.

        Raises:
            CallError: an item is not in the catalogue; otherwise as `recommend`.
        """
        filters = Filters(allow, deny, where)
        _check_k(k)
        positions = [self._position("similar", item) for item in items]
        allowed_N = self.allowed(filters)
        denied = self.catalogue.positions(deny, "deny")
        found = self.searcher.top(
            self.searcher.items_ND[np.asarray(positions, np.int64)],
            k,
            allowed=None if allowed_N is None else np.flatnonzero(allowed_N),
            hidden=[np.append(denied, own) for own in positions],
        )
        return [
            self._answer(position, score)
            for position, score in zip(found.position_BK, found.score_BK, strict=True)
        ]

    def item_vectors(self, items: Sequence[Key] | None = None) -> tuple[list[Key], Floats]:
        """The ids and the vectors of the catalogue, or of some items: [N], float32 [N, D].

        Raises:
            CallError: an item is not in the catalogue.
        """
        if items is None:
            return self.catalogue.ids(np.arange(len(self.catalogue))), self.searcher.items_ND
        positions = np.asarray([self._position("items", item) for item in items], np.int64)
        return self.catalogue.ids(positions), self.searcher.items_ND[positions]

    def vectors(self, histories: Sequence[EncodedHistory]) -> Floats:
        """The vectors of some histories with items, float32 [B, D].

        Raises:
            RunError: a number is not finite.
        """
        if not histories:
            return np.zeros((0, self.searcher.items_ND.shape[1]), np.float32)
        vectors_BD = self.encode(histories)
        if not np.isfinite(vectors_BD).all():
            raise RunError(
                "user vectors are not finite",
                got=f"NaN or inf for {int((~np.isfinite(vectors_BD)).any(axis=1).sum()):,} of {len(vectors_BD):,} users",
                todo="The run had diverged at this checkpoint; use an earlier one.",
            )
        return vectors_BD

    def allowed(self, filters: Filters) -> npt.NDArray[np.bool_] | None:
        """Which items `allow` and `where` allow, bool [N]; None if they allow all.

        Raises:
            CallError: an id, a feature or a value does not exist.
        """
        mask = None if not filters.where else self.catalogue.where(filters.where)
        if filters.allow is not None:
            listed = np.zeros(len(self.catalogue), np.bool_)
            listed[self.catalogue.positions(filters.allow, "allow")] = True
            mask = listed if mask is None else mask & listed
        return mask

    def _answer(
        self,
        position_K: Ints,
        score_K: npt.NDArray[Any],
        *,
        user: Key | None = None,
        fallback: str | None = None,
        segment: str | None = None,
        known_user: bool | None = None,
        unknown_items: tuple[Key, ...] = (),
    ) -> Answer:
        """The answer with the items at some positions, NONE left out."""
        found_K = position_K != NONE
        position_K = position_K[found_K]
        return Answer(
            user=user,
            item_ids=self.catalogue.ids(position_K),
            item_index=self.catalogue.item_index_N[position_K].tolist(),
            scores=score_K[found_K].astype(np.float64).tolist(),
            fallback=fallback,
            segment=segment,
            known_user=known_user,
            unknown_items=unknown_items,
            identity=self.identity,
        )

    def _hidden(self, history: EncodedHistory | None, denied: Ints, filters: Filters) -> Ints:
        if not filters.filter_seen or history is None:
            return denied
        seen = self.catalogue.positions_of_index(np.unique(history.item_T))
        return np.union1d(denied, seen)

    def _position(self, what: str, item: Key) -> int:
        position = self.catalogue.position_of(item)
        if position == NO_ROW:
            retired = self.catalogue.item_index_of(item) is not None
            raise CallError(
                f"{what}: the item {item!r} is not in the catalogue",
                got="a retired item" if retired else None,
                todo=None if retired else self.catalogue.hint(item),
            )
        return position


def _check_k(k: int) -> None:
    if not 1 <= k <= MOST_ITEMS:
        raise CallError("k", got=k, expected=f"1 to {MOST_ITEMS:,}")
