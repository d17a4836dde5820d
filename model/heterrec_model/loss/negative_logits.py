"""Negative logits of InfoNCE: over candidates that all positions share, or over the same position of other users (Eq. 9).

Positions are packed: only real items, user by user, oldest first, so the item i steps after position n is at n + i.
Shapes: B users, T items, P = T * B, N positions, R of them, C candidates, D width, U distinct items of the step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.data.batch import Batch


@dataclass(frozen=True, eq=False)
class Pairs:
    """Positions and the targets that their user vectors predict, both packed.

    Attributes:
        at_R: the positions.
        target_R: the targets.
        aimed_R: whether a pair is trained; the others are targets in another row, or have no row in the catalogue.
        known_R: the last item of the history before the target, for the repeat term.
    """

    at_R: Tensor
    target_R: Tensor
    aimed_R: Tensor
    known_R: Tensor

    def at(self, rows: Tensor) -> "Pairs":
        """Some of the pairs."""
        return Pairs(*(rows_R[rows] for rows_R in vars(self).values()))


@dataclass(frozen=True, eq=False)
class PackedPositions:
    """The packed positions of a batch.

    Attributes:
        row_N: row of the item among the distinct items of the step.
        left_N: number of later items of the same user.
        user_N: user, numbered within the batch.
        time_N: index in the history, from 0.
        first_N: index of the user's first item that is a target.
        listed_N: whether the item has a row, in the catalogue or as a retired item; other items (out of vocabulary) are not
            targets.
    """

    row_N: Tensor
    left_N: Tensor
    user_N: Tensor
    time_N: Tensor
    first_N: Tensor
    listed_N: Tensor

    def pairs(self, step: int) -> Pairs:
        """What is predicted: the item `step` steps ahead, at every position that has one."""
        at_R = (self.left_N >= step).nonzero().squeeze(1)
        return Pairs(at_R, at_R + step, self.is_target()[at_R + step], known_R=at_R)

    def is_target(self) -> Tensor:
        """Whether the item of each position is a target in this row, bool [N]."""
        return (self.time_N >= self.first_N) & self.listed_N


def pack_positions(batch: Batch, row_N: Tensor, listed_N: Tensor | None = None) -> PackedPositions:
    """Pack the real items of a batch, user by user; `listed_N` None means that all items are in the catalogue."""
    user_N, time_N = batch.valid_BT().nonzero(as_tuple=True)
    left_N = batch.length_B[user_N] - 1 - time_N
    first_N = torch.zeros_like(time_N)
    if batch.first_target_B is not None:
        first_N = batch.first_target_B[user_N]
    if listed_N is None:
        listed_N = torch.ones_like(row_N, dtype=torch.bool)
    return PackedPositions(row_N, left_N, user_N, time_N, first_N, listed_N)


@dataclass(frozen=True, eq=False)
class SharedNegatives:
    """Candidates that all positions share, corrected by the log of their expected counts.

    Attributes:
        candidate_C: rows of the candidates among the distinct items of the step.
        log_q_C: the corrections.
        value_U: item or feature cell as a number; items with equal numbers are not negatives of each other.
        user_C: users of the candidates; None unless items of the same user are masked.
        user_N: users of the positions, numbered as in user_C.
    """

    candidate_C: Tensor
    log_q_C: Tensor
    value_U: Tensor
    user_C: Tensor | None = None
    user_N: Tensor | None = None

    def logits(
        self,
        query_RD: Tensor,
        vectors_UD: Tensor,
        positions: PackedPositions,
        pairs: Pairs,
    ) -> Tensor:
        """l- of the queries: [R, C], -inf where a candidate is not a negative.

        Args:
            query_RD: queries, divided by tau.
            vectors_UD: item vectors of the level.
            positions: of the batch.
            pairs: position and target of each query.
        """
        target_R = positions.row_N[pairs.target_R]
        same_RC = self.value_U[target_R][:, None] == self.value_U[self.candidate_C]
        if self.user_C is not None and self.user_N is not None:
            same_RC = same_RC | (self.user_N[pairs.at_R][:, None] == self.user_C)
        candidates_CD = vectors_UD.index_select(0, self.candidate_C)
        # added to the product, the mask has no cost in the gradient
        correction_RC = torch.where(same_RC, -torch.inf, -self.log_q_C.to(query_RD.dtype))
        return torch.addmm(correction_RC, query_RD, candidates_CD.T)


@dataclass(frozen=True, eq=False)
class SamePositionNegatives:
    """Eq. 9 as printed: the items of the other users of the batch at the target's position.

    Attributes:
        row_BT: row of every item of the batch among the distinct items; -1 where padded or retired.
        value_U: as in `SharedNegatives`.
    """

    row_BT: Tensor
    value_U: Tensor

    def logits(
        self,
        query_RD: Tensor,
        vectors_UD: Tensor,
        positions: PackedPositions,
        pairs: Pairs,
    ) -> Tensor:
        """l- of the queries: [R, B], as `SharedNegatives.logits`, but one column per user of the batch."""
        users, width = len(self.row_BT), query_RD.shape[1]
        row_TB = self.row_BT.T
        time_R = positions.time_N[pairs.target_R]
        # one product per time: gathering the vectors of all users for each query would take B times the memory
        place_R = time_R * users + positions.user_N[pairs.at_R]
        query_PD = query_RD.new_zeros(row_TB.numel(), width).index_copy(0, place_R, query_RD)
        vectors_PD = vectors_UD.index_select(0, row_TB.clamp(min=0).flatten())
        query_TBD, vectors_TBD = (x.view(-1, users, width) for x in (query_PD, vectors_PD))
        logits_TBB = query_TBD @ vectors_TBD.transpose(1, 2)
        logits_RB = logits_TBB.flatten(0, 1).index_select(0, place_R)
        row_RB, target_R = row_TB[time_R], positions.row_N[pairs.target_R]
        own_RB = self.value_U[target_R][:, None] == self.value_U[row_RB.clamp(min=0)]
        return logits_RB.masked_fill(own_RB | (row_RB < 0), -torch.inf)


Negatives = SharedNegatives | SamePositionNegatives
"""The negatives of one level: of the items, or of one token."""
