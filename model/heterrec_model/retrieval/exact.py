"""The best items by exact search: scores in tiles that fit a core's cache, and a threshold per user that rises meanwhile.

Only scores above the k-th best score so far are collected. A candidate is one number of 64 bits, its score above its
position, so that sorting candidates also orders items of equal score by position, at the border of the k best as well.

A score does not depend on the batch: tiles have at least `_ROWS` users and a multiple of `_COLUMNS` items, padded with zeros,
for which OpenBLAS adds up the products of each pair in one order. Up to `_SINGLE` users are scored one by one, several times
as fast; such a score may differ from that of a larger batch in the last bit.

Shapes: B users, N items, M allowed items, D width, K number of answers, U users of a block, T items of a tile, C candidates
of a user, H hits of a tile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]

NONE = -1
"""Position where there are fewer than K answers; its score is -inf."""
_SINGLE = 4
"""Number of users up to which each is scored by a product of matrix and vector."""
_ROWS = 16
"""The users of a block are padded to a multiple of this number."""
_COLUMNS = 256
"""The items of a tile are padded to a multiple of this number."""
_BLOCK = 512
"""Number of users that are scored together."""
_TILE = 2**19
"""Number of scores of a tile; 2 MB."""
_CANDIDATES = 2**27
"""Bytes of the candidates of a block."""
_GATHER_BELOW = 0.25
"""Allowed share below which the allowed items are gathered; above it all are scored, and those not allowed are dropped."""
_LOW, _SIGN = np.uint64(2**32 - 1), np.uint32(2**31)
_SHIFT = np.uint64(32)


@dataclass(frozen=True, eq=False)
class TopItems:
    """The best items of some users.

    Attributes:
        position_BK: rows of the item vectors, int64, best first; items of equal score in their order; NONE where fewer.
        score_BK: their dot products, float32; -inf where fewer.
    """

    position_BK: Ints
    score_BK: Floats


def exact_top(
    users_BD: Floats,
    items_ND: Floats,
    k: int,
    *,
    allowed: Ints | None = None,
    hidden: Sequence[Ints] | None = None,
) -> TopItems:
    """The k best items of every user.

    Memory is some 10 MB, or 16 bytes per candidate of a few users for a large k, whatever B and N.

    Args:
        users_BD: user vectors, finite.
        items_ND: item vectors, finite; may be memory-mapped.
        k: number of items.
        allowed: rows of the items that may be found, ascending; None allows all.
        hidden: for every user, rows that are left out, in any order.
    """
    users_BD = np.ascontiguousarray(users_BD, np.float32)
    position_BK = np.full((len(users_BD), k), NONE, np.int64)
    score_BK = np.full((len(users_BD), k), -np.inf, np.float32)
    items = _Items(items_ND, allowed)
    found = min(k, items.most)
    step = 1
    if len(users_BD) > _SINGLE:
        step = _ROWS * max(1, min(_BLOCK, _CANDIDATES // (24 * (found + 1))) // _ROWS)
    for start in range(0, len(users_BD) if found else 0, step):
        block = slice(start, min(start + step, len(users_BD)))
        drop = _Hidden(None if hidden is None else hidden[block], items)
        position_BK[block, :found], score_BK[block, :found] = _block_top(
            users_BD[block], items, found, drop, single=len(users_BD) <= _SINGLE
        )
    return TopItems(position_BK, score_BK)


def best_first(position_BC: Ints, score_BC: Floats, k: int) -> TopItems:
    """The k best of some candidates per user; NONE may be among them."""
    key_BC = _keys(score_BC, position_BC)
    key_BC[position_BC == NONE] = 0
    key_BC.sort(axis=1)
    key_BK = key_BC[:, ::-1][:, :k]
    position_BK, score_BK = np.where(key_BK > 0, _positions(key_BK), NONE), _scores(key_BK)
    if position_BK.shape[1] < k:
        fill = ((0, 0), (0, k - position_BK.shape[1]))
        position_BK = np.pad(position_BK, fill, constant_values=NONE)
        score_BK = np.pad(score_BK, fill, constant_values=-np.inf)
    return TopItems(position_BK, score_BK)


class _Items:
    """The items that are scored: all of them, or the allowed ones if they are few; then a place is an index into `allowed`.

    Attributes:
        most: number of items that a user can get, without hidden ones.
    """

    def __init__(self, items_ND: Floats, allowed: Ints | None) -> None:
        self._items_ND = items_ND
        self.gathered = None
        self._allowed_N: npt.NDArray[np.bool_] | None = None
        self.most = len(items_ND) if allowed is None else len(allowed)
        if allowed is None:
            pass
        elif len(allowed) < _GATHER_BELOW * len(items_ND):
            self.gathered = allowed
        else:
            self._allowed_N = np.zeros(len(items_ND), np.bool_)
            self._allowed_N[allowed] = True

    def tiles(self, width: int) -> Iterator[tuple[int, Floats, npt.NDArray[np.bool_] | None]]:
        """First place, vectors and a mask of the usable ones (None: all) of each tile."""
        total = len(self._items_ND) if self.gathered is None else self.most
        for start in range(0, total, width):
            stop = min(start + width, total)
            if self.gathered is None:
                tile_TD = self._items_ND[start:stop]
            else:
                tile_TD = self._items_ND[self.gathered[start:stop]]
            usable_T = None if self._allowed_N is None else self._allowed_N[start:stop]
            padding = -len(tile_TD) % _COLUMNS
            if padding:
                usable_T = np.ones(len(tile_TD), np.bool_) if usable_T is None else usable_T
                usable_T = np.pad(usable_T, (0, padding))
                tile_TD = np.pad(tile_TD, ((0, padding), (0, 0)))
            yield start, tile_TD, usable_T

    def places(self, position: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The places of items, and whether each has one."""
        if self.gathered is None:
            return position, np.ones(len(position), np.bool_)
        place = np.searchsorted(self.gathered, position)
        place = np.minimum(place, len(self.gathered) - 1)
        return place, self.gathered[place] == position

    def positions(self, place: Ints) -> Ints:
        """The positions at some places."""
        return place if self.gathered is None else self.gathered[place]


class _Hidden:
    """The pairs of user and item of a block that are left out, in the order of the places."""

    def __init__(self, hidden: Sequence[Ints] | None, items: _Items) -> None:
        counts = [len(one) for one in hidden or ()]
        self._row: Ints = np.repeat(np.arange(len(counts)), counts)
        flat = np.concatenate([np.zeros(0, np.int64), *(hidden or ())]).astype(np.int64)
        self._place, known = items.places(flat) if len(flat) else (flat, flat == flat)
        self._row, self._place = self._row[known], self._place[known]
        order = np.argsort(self._place)
        self._row, self._place = self._row[order], self._place[order]

    def apply(self, scores_UT: Floats, start: int) -> None:
        """Set the scores of the pairs in a tile to -inf."""
        if len(self._place):
            first, last = np.searchsorted(self._place, [start, start + scores_UT.shape[1]])
            scores_UT[self._row[first:last], self._place[first:last] - start] = -np.inf


def _block_top(
    users_UD: Floats, items: _Items, k: int, hidden: _Hidden, *, single: bool
) -> tuple[Ints, Floats]:
    """Positions and scores of the k best items of the users of a block."""
    users = len(users_UD)
    if not single:
        users_UD = np.pad(users_UD, ((0, -users % _ROWS), (0, 0)))
    width = min(max(_TILE // len(users_UD), 1024), 16 * 1024) // _COLUMNS * _COLUMNS
    best = _Best(len(users_UD), users, k, width)
    scores_UT: Floats = np.empty((len(users_UD), width), np.float32)
    for start, tile_TD, usable_T in items.tiles(width):
        if len(tile_TD) < scores_UT.shape[1]:  # the last one
            scores_UT = np.empty((len(users_UD), len(tile_TD)), np.float32)
        if single:
            np.matmul(tile_TD, users_UD[0], out=scores_UT[0])
        else:
            np.matmul(users_UD, tile_TD.T, out=scores_UT)
        hidden.apply(scores_UT, start)
        best.add(scores_UT, start, usable_T)
    place_UK, score_UK = best.sorted()
    position_UK = np.where(place_UK == NONE, NONE, items.positions(np.maximum(place_UK, 0)))
    return position_UK, score_UK


class _Best:
    """The candidates of a block of users.

    Args:
        rows: number of users with padding.
        users: number of users.
        k: number of items that are kept.
        width: of a tile.
    """

    def __init__(self, rows: int, users: int, k: int, width: int) -> None:
        self._k, self._users = k, users
        self._key_UC: _Keys = np.zeros((rows, k + max(k, width)), np.uint64)
        self._count_U: Ints = np.zeros(rows, np.int64)
        self._above_U1: Floats = np.full((rows, 1), -np.inf, np.float32)
        self._above_U1[users:] = np.inf

    def add(self, scores_UT: Floats, start: int, usable_T: npt.NDArray[np.bool_] | None) -> None:
        """Collect the scores above the thresholds. Later items never displace earlier ones of equal score."""
        if not self._count_U.any():
            self._begin(scores_UT, usable_T)
        hit_H, count_U = self._hits(scores_UT, usable_T)
        if (self._count_U + count_U).max(initial=0) > self._key_UC.shape[1]:
            self._shrink()
            hit_H, count_U = self._hits(scores_UT, usable_T)
        if not len(hit_H):
            return
        width = scores_UT.shape[1]
        row_H = hit_H // width
        first_U = np.cumsum(count_U) - count_U
        column_H = (self._count_U - first_U)[row_H] + np.arange(len(hit_H))
        place_H = hit_H - row_H * width + start
        self._key_UC[row_H, column_H] = _keys(scores_UT.reshape(-1)[hit_H], place_H)
        self._count_U += count_U

    def _begin(self, scores_UT: Floats, usable_T: npt.NDArray[np.bool_] | None) -> None:
        """Set the thresholds so that of the first tile little more than the k best are collected."""
        if usable_T is not None:
            scores_UT[:, ~usable_T] = -np.inf
        place = scores_UT.shape[1] - self._k
        if place > 0:
            worst_U = np.partition(scores_UT[: self._users], place, axis=1)[:, place]
            self._above_U1[: self._users, 0] = np.nextafter(worst_U, np.float32(-np.inf))

    def _hits(self, scores_UT: Floats, usable_T: npt.NDArray[np.bool_] | None) -> tuple[Ints, Ints]:
        """The flat places of the scores above the thresholds, and their number per user."""
        above_UT = scores_UT > self._above_U1
        if usable_T is not None:
            above_UT &= usable_T
        hit_H = np.flatnonzero(above_UT)
        count_U = np.bincount(hit_H // scores_UT.shape[1], minlength=len(scores_UT))
        return hit_H, count_U

    def _shrink(self) -> None:
        """Keep the k best candidates of each user, and raise the thresholds."""
        k = self._k
        self._key_UC[:, :k] = self._kept()
        self._key_UC[:, k:] = 0
        full_U = self._count_U >= k
        worst_U = self._key_UC[:, :k].min(axis=1)
        self._above_U1[full_U, 0] = _scores(worst_U[full_U])
        self._count_U = np.minimum(self._count_U, k)

    def _kept(self) -> _Keys:
        """The k best candidates, unsorted."""
        used = max(int(self._count_U.max()), self._k)
        return np.partition(self._key_UC[:, :used], used - self._k, axis=1)[:, used - self._k :]

    def sorted(self) -> tuple[Ints, Floats]:
        """Places and scores of the k best, best first; NONE and -inf where fewer."""
        key_UK = np.sort(self._kept()[: self._users], axis=1)[:, ::-1]
        return np.where(key_UK > 0, _positions(key_UK), NONE), _scores(key_UK)


def _keys(score: Floats, position: Ints) -> _Keys:
    """Numbers whose order is that of the scores, and for equal scores the opposite of that of the positions; never 0."""
    bits = (score + np.float32(0)).view(np.uint32)  # 0 for -0
    high = np.where(bits & _SIGN, ~bits, bits | _SIGN).astype(np.uint64)
    key: _Keys = (high << _SHIFT) | (_LOW - position.astype(np.uint64))
    return key


def _positions(key: _Keys) -> Ints:
    found: Ints = (_LOW - (key & _LOW)).astype(np.int64)
    return found


def _scores(key: _Keys) -> Any:
    """The scores of some keys, float32; -inf for the key 0, which stands for no item."""
    high = (key >> _SHIFT).astype(np.uint32)
    score = np.where(high & _SIGN, high ^ _SIGN, ~high).astype(np.uint32).view(np.float32)
    return np.where(key > 0, score, np.float32(-np.inf))
