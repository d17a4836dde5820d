"""Ranks of targets among the candidates, for a block of users and a chunk of items at a time.

Items with equal scores share a range of ranks: its first is 1 + the number of items with a greater score, its length is their
number. metrics.py averages over their orders. The score of a target comes from the same matrix product as all others, so
it cannot differ from itself by rounding. Memory is a few times block x chunk, whatever the size of the catalogue; a catalogue
of several chunks is scored twice, first for the scores of the targets, then to compare.

(A matrix product may treat the last columns of a chunk differently, so that the scores of two items with equal vectors
differ in the last bit. Rounding then breaks the tie.)

Shapes: B users of a block, S numbers per user, N catalogue items, C items of a chunk, P targets of the block, J maximum
number of targets per user, E seen pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from heterrec_model.data.catalogue_positions import NO_ROW
from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_model.evaluation.scorers import DIVERGED, Scorer
from heterrec_schemas.errors import RunError

_EXACT = 2**24
"""Maximum number of items per chunk: float32 counts exactly up to here."""
_SORT_ABOVE = 6
"""Number of targets per user above which sorting all scores is cheaper than comparing them with every target."""
_TILE = 2**20
"""Number of scores compared at a time on a CPU: they fit its cache."""


@dataclass(frozen=True, eq=False)
class UserBlock:
    """Users that are ranked together.

    Attributes:
        users_BS: their states, from the scorer.
        user_ids: for messages.
        seen: pairs that are left out of the ranking.
        added: scores to add to those of the scorer.
    """

    users_BS: Tensor
    user_ids: Sequence[str | int]
    seen: UserItemPairs | None = None
    added: AddedScores | None = None


@torch.no_grad()
def rank_targets(
    scorer: Scorer,
    block: UserBlock,
    targets: UserItemPairs,
    *,
    chunk_items: int,
    candidates_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ranks of every target among the candidates.

    Args:
        scorer: computes the scores.
        block: the users; their seen pairs, except targets, are left out of the ranking.
        targets: distinct targets of the users, sorted by user.
        chunk_items: number of items scored at a time.
        candidates_N: whether each item of the catalogue is ranked, bool on the CPU; None ranks all.

    Returns:
        The first of the ranks that a target shares with the items of equal score, [P] float64, best 1, inf for an item
        that is no candidate; and their number, the target included, [P] int64. Both on the CPU.

    Raises:
        RunError: a score is not finite.
    """
    first_P = torch.full((len(targets),), torch.inf, dtype=torch.float64)
    tied_P = torch.ones(len(targets), dtype=torch.int64)
    listed_P = targets.position_P != NO_ROW
    if candidates_N is not None:
        listed_P &= candidates_N[targets.position_P.clamp(min=0)]
    if not listed_P.any():
        return first_P, tied_P
    device = block.users_BS.device
    grid = _TargetGrid.of(targets.where(listed_P), len(block.user_ids), device)
    hidden = _without(block.seen, targets.where(listed_P), device)
    chunks = _ScoreChunks(
        scorer, grid.sort(block), grid.sort_pairs(hidden), chunk_items, candidates_N
    )
    own_BJ = _own_scores(chunks, grid)
    net_BJ = torch.zeros(own_BJ.shape, dtype=torch.float64, device=device)
    unequal_BJ = torch.zeros_like(net_BJ)
    for _, _, scores_BC in chunks:
        _compare(scores_BC, own_BJ, grid.users_with, net_BJ, unequal_BJ)
    # net = greater - less, unequal = greater + less; hidden items are less than all others.
    items = len(scorer.table.catalogue_N)
    first_P[listed_P] = grid.flat(1 + (unequal_BJ + net_BJ) / 2).cpu()
    tied_P[listed_P] = grid.flat(items - unequal_BJ).long().cpu()
    return first_P, tied_P


@torch.no_grad()
def best_items(
    scorer: Scorer,
    block: UserBlock,
    k: int,
    *,
    chunk_items: int,
    candidates_N: Tensor | None = None,
) -> Tensor:
    """The k candidates with the greatest scores of every user.

    Args:
        scorer: computes the scores.
        block: the users; their seen pairs are left out.
        k: number of items.
        chunk_items: number of items scored at a time.
        candidates_N: see `rank_targets`.

    Returns:
        Positions in the catalogue, best first, int64 [B, k] on the CPU; NO_ROW where fewer items are ranked.

    Raises:
        RunError: a score is not finite.
    """
    device = block.users_BS.device
    seen = block.seen.where(block.seen.position_P != NO_ROW).to(device) if block.seen else None
    users = len(block.user_ids)
    best_BK = torch.full((users, k), -torch.inf, device=device)
    position_BK = torch.full((users, k), NO_ROW, device=device)
    for start, stop, scores_BC in _ScoreChunks(scorer, block, seen, chunk_items, candidates_N):
        here_BK, at_BK = scores_BC.float().topk(min(k, stop - start), dim=1)
        both_BX = torch.cat([best_BK, here_BK], dim=1)
        best_BK, chosen_BK = both_BX.topk(k, dim=1)
        position_BK = torch.cat([position_BK, at_BK + start], dim=1).gather(1, chosen_BK)
    return position_BK.masked_fill(best_BK.isneginf(), NO_ROW).cpu()


@dataclass(frozen=True, eq=False)
class _TargetGrid:
    """Targets as a grid, users with most targets first: the cells of a column are then consecutive from the top.

    Attributes:
        order_B: row of the block for each row of the grid.
        row_P: row of each target in the grid.
        column_P: column of each target in the grid.
        position_BJ: positions in the catalogue; 0 beyond the targets of a user.
        users_with: for each column, the number of users with that many targets.
    """

    order_B: Tensor
    row_P: Tensor
    column_P: Tensor
    position_BJ: Tensor
    users_with: list[int]

    @classmethod
    def of(cls, targets: UserItemPairs, users: int, device: torch.device) -> "_TargetGrid":
        count_B = torch.bincount(targets.user_P, minlength=users)
        order_B = count_B.argsort(descending=True, stable=True)
        first_B = count_B.cumsum(0) - count_B
        column_P = torch.arange(len(targets)) - first_B[targets.user_P]
        row_P = order_B.argsort()[targets.user_P]
        position_BJ = torch.zeros((users, int(count_B.max())), dtype=torch.int64)
        position_BJ[row_P, column_P] = targets.position_P
        with_J = torch.bincount(column_P)
        return cls(
            order_B.to(device),
            row_P.to(device),
            column_P.to(device),
            position_BJ.to(device),
            with_J.tolist(),
        )

    def sort(self, block: UserBlock) -> UserBlock:
        """The block with its users in the order of the grid."""
        names = [block.user_ids[k] for k in self.order_B.tolist()]
        added = block.added
        if added is not None:
            pairs = self.sort_pairs(added.pairs.to(block.users_BS.device))
            assert pairs is not None
            added = AddedScores(pairs, added.score_P.to(block.users_BS.device))
        return UserBlock(block.users_BS[self.order_B], names, added=added)

    def sort_pairs(self, pairs: UserItemPairs | None) -> UserItemPairs | None:
        """The pairs with rows of the grid as users."""
        if pairs is None:
            return None
        return UserItemPairs(self.order_B.argsort()[pairs.user_P], pairs.position_P)

    def flat(self, values_BJ: Tensor) -> Tensor:
        """The cells of the grid in the order of the targets."""
        return values_BJ[self.row_P, self.column_P]


class _ScoreChunks:
    """The scores of a block by catalogue chunk, -inf for hidden pairs and non-candidates; a single chunk is cached."""

    def __init__(
        self,
        scorer: Scorer,
        block: UserBlock,
        hidden: UserItemPairs | None,
        items: int,
        candidates_N: Tensor | None = None,
    ) -> None:
        self._scorer, self._block, self._hidden = scorer, block, hidden
        # Added to the scores: several times as fast as a mask.
        self._penalty_N = None
        if candidates_N is not None:
            excluded_N = torch.zeros(len(candidates_N)).masked_fill_(~candidates_N, -torch.inf)
            self._penalty_N = excluded_N.to(block.users_BS.device)
        total = len(scorer.table.catalogue_N)
        edges = [*range(0, total, min(items, _EXACT)), total]
        self._bounds = list(pairwise(edges))
        self._cached: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[int, int, Tensor]]:
        for start, stop in self._bounds:
            scores_BC = self._score(start, stop) if self._cached is None else self._cached
            if len(self._bounds) == 1:
                self._cached = scores_BC
            yield start, stop, scores_BC

    def _score(self, start: int, stop: int) -> Tensor:
        scores_BC = self._scorer.scores(self._block.users_BS, start, stop)
        if (added := self._block.added) is not None:
            position_P = added.pairs.position_P
            inside_P = (position_P >= start) & (position_P < stop)
            pairs = added.pairs.where(inside_P)
            scores_BC[pairs.user_P, pairs.position_P - start] += added.score_P[inside_P].to(
                scores_BC.dtype
            )
        # All comparisons with NaN are false, which would rank a target first: one sum per user detects it.
        bad_B = ~scores_BC.sum(dim=1).isfinite()
        if bad_B.any():
            bad = [self._block.user_ids[k] for k in bad_B.nonzero().flatten().tolist()]
            raise RunError(
                "scores are not finite",
                got=f"NaN or inf for {len(bad):,} of {len(bad_B):,} users, such as {bad[:5]}",
                todo=DIVERGED,
            )
        if self._penalty_N is not None:
            scores_BC += self._penalty_N[start:stop]
        if self._hidden is not None:
            position_E = self._hidden.position_P
            inside = self._hidden.where((position_E >= start) & (position_E < stop))
            scores_BC[inside.user_P, inside.position_P - start] = -torch.inf
        return scores_BC


def _without(
    seen: UserItemPairs | None, targets: UserItemPairs, device: torch.device
) -> UserItemPairs | None:
    """The seen pairs with a row, except targets: a target is ranked whether seen or not."""
    if seen is None:
        return None
    seen = seen.where(seen.position_P != NO_ROW)
    # Positions are 0 or more here, so a pair fits one number.
    width = 1 + max(int(p.position_P.max()) if len(p) else 0 for p in (seen, targets))
    is_target_E = torch.isin(
        seen.user_P * width + seen.position_P, targets.user_P * width + targets.position_P
    )
    return seen.where(~is_target_E).to(device)


def _own_scores(chunks: _ScoreChunks, grid: _TargetGrid) -> Tensor:
    """The scores of the targets, [B, J]."""
    own_BJ: Tensor | None = None
    for start, stop, scores_BC in chunks:
        inside_BJ = (grid.position_BJ >= start) & (grid.position_BJ < stop)
        here_BJ = scores_BC.gather(1, (grid.position_BJ - start).clamp(0, stop - start - 1))
        own_BJ = here_BJ if own_BJ is None else torch.where(inside_BJ, here_BJ, own_BJ)
    assert own_BJ is not None, "a target with a row is in a chunk"
    return own_BJ


def _compare(
    scores_BC: Tensor, own_BJ: Tensor, users_with: Sequence[int], net_BJ: Tensor, unequal_BJ: Tensor
) -> None:
    """Add the number of greater items minus that of smaller items to `net`, and the sum of both to `unequal`."""
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
    """Sort every row in ascending order."""
    if scores_BC.is_cuda:
        return scores_BC.sort(dim=1).values
    # NumPy sorts values ten times as fast as PyTorch, which always computes indices too.
    return torch.from_numpy(np.sort(scores_BC.numpy(), axis=1))
