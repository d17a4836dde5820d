"""The rank of every target in the full catalogue, a block of users and a chunk of items at a time.

A target's rank is 1 + the items with a greater score + half of the other items with an equal one: the mean over all
orders of the ties. Scores are compared as they come out of one product; they are never computed another way for the
target alone, so that it cannot differ from itself by rounding. Memory is a few times block x chunk, whatever the
catalogue; a catalogue of several chunks is scored twice, first for the targets' scores, then to compare.

(Two items with equal vectors can differ in a score's last bit where a matrix product treats the last columns of a chunk
apart. Such a tie is then broken by the rounding, and the rank differs by a half.)

Shapes: B users of a block, S numbers a user, N items of the catalogue, C of a chunk, P targets of the block, J targets of
the user with the most, E seen pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from heterrec_model.data.catalogue_positions import NO_ROW
from heterrec_model.evaluation.scorers import Scorer
from heterrec_schemas.errors import RunError

_EXACT = 2**24
"""Up to here float32 counts exactly: no chunk is larger."""
_SORT_ABOVE = 6
"""Targets a user from which on sorting all scores costs less than comparing them with every target."""
_TILE = 2**20
"""Scores compared at a time on a CPU: they stay in its cache."""


@dataclass(frozen=True, eq=False)
class UserItemPairs:
    """Pairs of a user and an item.

    Attributes:
        user_P: the user's row in the block, int64.
        place_P: the item's place in the catalogue, int64; NO_ROW without one.
    """

    user_P: Tensor
    place_P: Tensor

    def __len__(self) -> int:
        return len(self.user_P)

    def where(self, chosen_P: Tensor) -> "UserItemPairs":
        """The pairs that a mask or an index chooses."""
        return UserItemPairs(self.user_P[chosen_P], self.place_P[chosen_P])

    def to(self, device: torch.device) -> "UserItemPairs":
        """The same pairs on a device."""
        return UserItemPairs(self.user_P.to(device), self.place_P.to(device))


@dataclass(frozen=True, eq=False)
class UserBlock:
    """Users that are ranked together.

    Attributes:
        users_BS: what a scorer needs to know of them.
        user_ids: for messages.
        seen: pairs that leave the ranking.
    """

    users_BS: Tensor
    user_ids: Sequence[str | int]
    seen: UserItemPairs | None = None


@torch.no_grad()
def rank_targets(
    scorer: Scorer, block: UserBlock, targets: UserItemPairs, *, chunk_items: int
) -> tuple[Tensor, Tensor]:
    """The mean rank of every target among all items of the catalogue.

    Args:
        scorer: gives the scores.
        block: the users; pairs that are seen and no target leave the ranking.
        targets: of the block's users, sorted by user, no pair twice.
        chunk_items: items scored at a time.

    Returns:
        The ranks [P] float64, 1 the best, inf for an item without a row; and whether an item of the ranking has an equal
        score [P] bool. Both on the CPU.

    Raises:
        RunError: a score is not finite.
    """
    rank_P = torch.full((len(targets),), torch.inf, dtype=torch.float64)
    tied_P = torch.zeros(len(targets), dtype=torch.bool)
    found_P = targets.place_P != NO_ROW
    if not found_P.any():
        return rank_P, tied_P
    device = block.users_BS.device
    grid = _Grid.of(targets.where(found_P), len(block.user_ids), device)
    hidden = _without(block.seen, targets.where(found_P), device)
    chunks = _Chunks(scorer, grid.sort(block), grid.sort_pairs(hidden), chunk_items)
    own_BJ = _own_scores(chunks, grid)
    net_BJ = torch.zeros(own_BJ.shape, dtype=torch.float64, device=device)
    unequal_BJ = torch.zeros_like(net_BJ)
    for _, _, scores_BC in chunks:
        _compare(scores_BC, own_BJ, grid.users_with, net_BJ, unequal_BJ)
    # net = greater - less, and greater + less + equal + 1 = N; what is hidden is less than anything.
    items = len(scorer.table.catalogue_N)
    rank_P[found_P] = grid.flat((items + 1 + net_BJ) / 2).cpu()
    tied_P[found_P] = grid.flat(unequal_BJ < items - 1).cpu()
    return rank_P, tied_P


@torch.no_grad()
def top_items(
    scorer: Scorer, block: UserBlock, k: int, *, chunk_items: int
) -> tuple[Tensor, Tensor]:
    """The k best items of every user: places in the catalogue and scores, [B, k] each, best first.

    Items that are seen come last, with a score of -inf, where fewer than k others are left. Equal scores stand in the
    order of the catalogue.
    """
    device = block.users_BS.device
    hidden = None if block.seen is None else block.seen.to(device)
    users = len(block.user_ids)
    place_BK = torch.zeros((users, 0), dtype=torch.int64, device=device)
    score_BK = torch.zeros((users, 0), device=device)
    for start, stop, scores_BC in _Chunks(scorer, block, hidden, chunk_items):
        place_BC = torch.arange(start, stop, device=device).expand(users, -1)
        best_BC, order_BC = scores_BC.topk(min(k, stop - start), dim=1)
        place_BK = torch.cat([place_BK, place_BC.gather(1, order_BC)], dim=1)
        score_BK = torch.cat([score_BK.to(best_BC.dtype), best_BC], dim=1)
        # By place first, then a stable sort by score.
        place_BK, order_BK = place_BK.sort(dim=1)
        score_BK, best_BK = score_BK.gather(1, order_BK).sort(dim=1, descending=True, stable=True)
        place_BK, score_BK = place_BK.gather(1, best_BK)[:, :k], score_BK[:, :k]
    return place_BK.cpu(), score_BK.cpu()


@dataclass(frozen=True, eq=False)
class _Grid:
    """Targets as a grid, the users with the most first: the j-th targets are then a run of rows from the top.

    Attributes:
        order_B: the block's row that stands in each row of the grid.
        row_P: each target's row in the grid.
        column_P: which of its user's targets it is.
        place_BJ: places in the catalogue; 0 where a user has fewer targets.
        users_with: for each column, how many users have that many targets.
    """

    order_B: Tensor
    row_P: Tensor
    column_P: Tensor
    place_BJ: Tensor
    users_with: list[int]

    @classmethod
    def of(cls, targets: UserItemPairs, users: int, device: torch.device) -> "_Grid":
        count_B = torch.bincount(targets.user_P, minlength=users)
        order_B = count_B.argsort(descending=True, stable=True)
        first_B = count_B.cumsum(0) - count_B
        column_P = torch.arange(len(targets)) - first_B[targets.user_P]
        row_P = order_B.argsort()[targets.user_P]
        place_BJ = torch.zeros((users, int(count_B.max())), dtype=torch.int64)
        place_BJ[row_P, column_P] = targets.place_P
        with_J = torch.bincount(column_P)
        return cls(
            order_B.to(device),
            row_P.to(device),
            column_P.to(device),
            place_BJ.to(device),
            with_J.tolist(),
        )

    def sort(self, block: UserBlock) -> UserBlock:
        """The block with its users in the grid's order."""
        names = [block.user_ids[k] for k in self.order_B.tolist()]
        return UserBlock(block.users_BS[self.order_B], names)

    def sort_pairs(self, pairs: UserItemPairs | None) -> UserItemPairs | None:
        """Pairs whose user is a row of the grid."""
        if pairs is None:
            return None
        return UserItemPairs(self.order_B.argsort()[pairs.user_P], pairs.place_P)

    def flat(self, values_BJ: Tensor) -> Tensor:
        """The grid's cells in the order of the targets."""
        return values_BJ[self.row_P, self.column_P]


class _Chunks:
    """The scores of a block, a chunk of the catalogue at a time, without what is hidden; a single chunk is kept."""

    def __init__(
        self, scorer: Scorer, block: UserBlock, hidden: UserItemPairs | None, items: int
    ) -> None:
        self._scorer, self._block, self._hidden = scorer, block, hidden
        total = len(scorer.table.catalogue_N)
        edges = [*range(0, total, min(items, _EXACT)), total]
        self._bounds = list(pairwise(edges))
        self._kept: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[int, int, Tensor]]:
        for start, stop in self._bounds:
            if self._kept is None:
                scores_BC = self._score(start, stop)
                self._kept = scores_BC if len(self._bounds) == 1 else None
                yield start, stop, scores_BC
            else:
                yield start, stop, self._kept

    def _score(self, start: int, stop: int) -> Tensor:
        scores_BC = self._scorer.scores(self._block.users_BS, start, stop)
        # NaN compares as if it were the worst, and would rank a target first: one sum a user finds it.
        odd_B = ~scores_BC.sum(dim=1).isfinite()
        if odd_B.any():
            odd = [self._block.user_ids[k] for k in odd_B.nonzero().flatten().tolist()]
            raise RunError(
                "scores are not finite",
                got=f"NaN or inf for {len(odd):,} of {len(odd_B):,} users, such as {odd[:5]}",
                todo="The checkpoint holds a run that had diverged; take an earlier one.",
            )
        if self._hidden is not None:
            place_E = self._hidden.place_P
            inside = self._hidden.where((place_E >= start) & (place_E < stop))
            scores_BC[inside.user_P, inside.place_P - start] = -torch.inf
        return scores_BC


def _without(
    seen: UserItemPairs | None, targets: UserItemPairs, device: torch.device
) -> UserItemPairs | None:
    """The seen pairs that have a row and are no target (all with a row): a target is asked for, seen or not."""
    if seen is None:
        return None
    seen = seen.where(seen.place_P != NO_ROW)
    # Places are 0 or more here: a pair is one number.
    width = 1 + max(int(p.place_P.max()) if len(p) else 0 for p in (seen, targets))
    is_target_E = torch.isin(
        seen.user_P * width + seen.place_P, targets.user_P * width + targets.place_P
    )
    return seen.where(~is_target_E).to(device)


def _own_scores(chunks: _Chunks, grid: _Grid) -> Tensor:
    """The scores of the targets themselves, [B, J]."""
    own_BJ: Tensor | None = None
    for start, stop, scores_BC in chunks:
        inside_BJ = (grid.place_BJ >= start) & (grid.place_BJ < stop)
        here_BJ = scores_BC.gather(1, (grid.place_BJ - start).clamp(0, stop - start - 1))
        own_BJ = here_BJ if own_BJ is None else torch.where(inside_BJ, here_BJ, own_BJ)
    assert own_BJ is not None, "a target with a row stands in a chunk"
    return own_BJ


def _compare(
    scores_BC: Tensor,
    own_BJ: Tensor,
    users_with: Sequence[int],
    net_BJ: Tensor,
    unequal_BJ: Tensor,
) -> None:
    """Add to `net` how many items are greater less how many are smaller, to `unequal` how many are either."""
    if sum(users_with) > _SORT_ABOVE * len(scores_BC):
        sorted_BC = _sorted(scores_BC)
        smaller_BJ = torch.searchsorted(sorted_BC, own_BJ)
        up_to_BJ = torch.searchsorted(sorted_BC, own_BJ, right=True)
        greater_BJ = scores_BC.shape[1] - up_to_BJ
        net_BJ += greater_BJ - smaller_BJ
        unequal_BJ += greater_BJ + smaller_BJ
        return
    tile = len(scores_BC) if scores_BC.is_cuda else max(1, _TILE // scores_BC.shape[1])
    scratch = torch.empty_like(scores_BC[:tile])
    for j, users in enumerate(users_with):
        for start in range(0, users, tile):
            rows = slice(start, min(start + tile, users))
            out = scratch[: rows.stop - start]
            signs = torch.sub(scores_BC[rows], own_BJ[rows, j, None], out=out).sign_()
            net_BJ[rows, j] += signs.sum(dim=1)
            unequal_BJ[rows, j] += signs.abs_().sum(dim=1)


def _sorted(scores_BC: Tensor) -> Tensor:
    """Every row ascending."""
    if scores_BC.is_cuda:
        return scores_BC.sort(dim=1).values
    # NumPy sorts numbers alone ten times as fast as PyTorch sorts them with their places.
    return torch.from_numpy(np.sort(scores_BC.numpy(), axis=1))
