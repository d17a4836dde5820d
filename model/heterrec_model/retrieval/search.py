"""Search for the best items, exact or by an index, with filters that never starve.

With an index, a search is exact wherever that is faster or the only way to be right: for a small share of allowed items, for
answers that come from deep in the catalogue, and for users whose answer stays short or keeps changing.

Shapes: B users, N items, D width, K number of answers, P lists of a round.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heterrec_model.retrieval.exact import NONE, Floats, Ints, TopItems, best_first, exact_top
from heterrec_model.retrieval.vector_index import FLAT, IVF, VectorIndex, bitmap_selector

EXACT_BELOW = 0.1
"""Allowed share below which the allowed items are searched exactly."""
_MOST_LISTS = 0.25
"""Share of the lists after which a filtered search becomes exact."""
_SETTLED = 0.005
"""Share of new items in a round up to which an answer counts as settled."""


class Searcher:
    """Finds the best items of a catalogue for user vectors.

    Args:
        items_ND: vectors of the catalogue, float32 [N, D].
        index: of these vectors; None for exact search.
    """

    def __init__(self, items_ND: Floats, index: VectorIndex | None = None) -> None:
        self.items_ND = items_ND
        self.index = None if index is None or index.kind == FLAT else index

    def top(
        self,
        users_BD: Floats,
        k: int,
        *,
        allowed: Ints | None = None,
        hidden: Sequence[Ints] | None = None,
    ) -> TopItems:
        """The k best items of every user, or all allowed ones if they are fewer; see `exact_top`.

        A user's items do not depend on the other users, but for the last bit of scores (`exact_top`).
        """
        share = 1.0 if allowed is None else len(allowed) / max(len(self.items_ND), 1)
        filtered = allowed is not None and share < 1
        if (
            self.index is None
            or share < EXACT_BELOW
            or (filtered and self.index.kind != IVF)
            or not len(users_BD)
        ):
            return exact_top(users_BD, self.items_ND, k, allowed=allowed, hidden=hidden)
        found = TopItems(
            np.full((len(users_BD), k), NONE, np.int64),
            np.full((len(users_BD), k), -np.inf, np.float32),
        )
        exact_B = np.zeros(len(users_BD), np.bool_)
        few = None
        for wanted, rows in _by_wanted(k, len(users_BD), hidden):
            effort = self.index.effort(wanted / share)
            if effort is None or wanted > len(self.items_ND):
                exact_B[rows] = True
                continue
            if not filtered:
                part = self.index.search(users_BD[rows], wanted, effort)
                settled = (part.position_BK != NONE).all(axis=1)
            else:
                assert allowed is not None
                few = few or _Allowed(self.index, allowed)
                part, settled = few.search(users_BD[rows], wanted, effort)
            exact_B[rows[~settled]] = True
            for row, position, score in zip(rows, part.position_BK, part.score_BK, strict=True):
                if hidden is not None and len(hidden[row]):
                    kept = ~np.isin(position, hidden[row], kind="sort")
                    position, score = position[kept], score[kept]
                found.position_BK[row], found.score_BK[row] = position[:k], score[:k]
        if exact_B.any():
            rows = np.flatnonzero(exact_B)
            own = None if hidden is None else [hidden[row] for row in rows.tolist()]
            exact = exact_top(users_BD[rows], self.items_ND, k, allowed=allowed, hidden=own)
            found.position_BK[rows], found.score_BK[rows] = exact.position_BK, exact.score_BK
        return found


def _by_wanted(
    k: int, users: int, hidden: Sequence[Ints] | None
) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Numbers of items to search for, so that k remain without hidden ones, and the users of each."""
    if hidden is None:
        return [(k, np.arange(users))]
    wanted_B = np.asarray([k + _rounded(len(one)) for one in hidden])
    return [(int(n), np.flatnonzero(wanted_B == n)) for n in np.unique(wanted_B)]


def _rounded(count: int) -> int:
    """The next power of two, so that users are searched together; 0 stays 0."""
    return 1 << (count - 1).bit_length() if count else 0


class _Allowed:
    """Search of an IVF among some of its items, in rounds of more and more lists.

    Only lists with allowed items are read, best first. An answer is settled when it is full and a round, of as many lists as
    all rounds before, adds next to nothing.
    """

    def __init__(self, index: VectorIndex, allowed: Ints) -> None:
        self._index = index
        mask_N = np.zeros(len(index.list_of_N), np.bool_)
        mask_N[allowed] = True
        self._selector = bitmap_selector(mask_N)
        lists = len(index.centroids_LD)
        counts_L = np.bincount(index.list_of_N[allowed], minlength=lists)
        self._lists = np.flatnonzero(counts_L)
        self._most = max(1, int(_MOST_LISTS * lists))

    def search(
        self, users_BD: Floats, k: int, effort: int
    ) -> tuple[TopItems, npt.NDArray[np.bool_]]:
        """The k best allowed items of each user, and whether the answer is settled."""
        centroids_LD = self._index.centroids_LD[self._lists]
        near_BL = np.stack([centroids_LD @ user_D for user_D in users_BD])
        order_BL = self._lists[np.argsort(-near_BL, axis=1, kind="stable")]
        position_BK = np.full((len(users_BD), k), NONE, np.int64)
        score_BK = np.full((len(users_BD), k), -np.inf, np.float32)
        settled_B = np.zeros(len(users_BD), np.bool_)
        start, stop = 0, effort
        while start < order_BL.shape[1] and stop <= self._most and not settled_B.all():
            rows = np.flatnonzero(~settled_B)
            lists_BP = order_BL[rows, start:stop]
            position, score = self._index.search_lists(users_BD[rows], k, lists_BP, self._selector)
            best = best_first(
                np.concatenate([position_BK[rows], position], axis=1),
                np.concatenate([score_BK[rows], score], axis=1),
                k,
            )
            worst = best.score_BK[:, -1:]
            new = ((position != NONE) & (score >= worst)).sum(axis=1)
            full = best.position_BK[:, -1] != NONE
            position_BK[rows], score_BK[rows] = best.position_BK, best.score_BK
            settled_B[rows] = full & (start > 0) & (new <= _SETTLED * k)
            start, stop = stop, 2 * stop
            if start >= order_BL.shape[1]:
                settled_B[:] = True  # all lists have been read
        return TopItems(position_BK, score_BK), settled_B
