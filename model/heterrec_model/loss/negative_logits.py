"""What stands below a positive in InfoNCE: candidates that all positions share, or the paper's same position of others.

Positions are packed: only real items, user by user, oldest first, so that the item i steps after position n is n + i.
Shapes: B users, T items, N positions, R of them, C candidates, D width, U distinct items of the step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.data.batch import Batch


@dataclass(frozen=True, eq=False)
class Positions:
    """The packed positions of a batch.

    Attributes:
        row_N: the row of each position's item among the step's distinct items.
        left_N: how many of the user's items come after it.
        user_N: its user, numbered within the batch.
        time_N: its place in the history, from 0.
        first_N: the place of its user's first item that is a target.
        listed_N: whether its item stands in the catalogue; others (out of vocabulary) are no targets.
    """

    row_N: Tensor
    left_N: Tensor
    user_N: Tensor
    time_N: Tensor
    first_N: Tensor
    listed_N: Tensor

    def with_item(self, step: int) -> Tensor:
        """The positions that have an item `step` steps on; it stands at the position + step."""
        return (self.left_N >= step).nonzero().squeeze(1)

    def aimed(self, at_R: Tensor, step: int) -> Tensor:
        """Whether the item `step` steps on is a target."""
        return (self.time_N[at_R] + step >= self.first_N[at_R]) & self.listed_N[at_R + step]


def positions_of(batch: Batch, row_N: Tensor, listed_N: Tensor | None = None) -> Positions:
    """Pack a batch: the places of its real items, row by row.

    Args:
        batch: its items, lengths and first targets.
        row_N: the row of every real item.
        listed_N: whether each real item stands in the catalogue; left out: all do.
    """
    user_N, time_N = batch.valid_BT().nonzero(as_tuple=True)
    left_N = batch.length_B[user_N] - 1 - time_N
    first_N = torch.zeros_like(time_N)
    if batch.first_target_B is not None:
        first_N = batch.first_target_B[user_N]
    if listed_N is None:
        listed_N = torch.ones_like(row_N, dtype=torch.bool)
    return Positions(row_N, left_N, user_N, time_N, first_N, listed_N)


class Negatives(ABC):
    """The negatives of one level, the items' or one token's."""

    @abstractmethod
    def logits(
        self, query_RD: Tensor, vectors_UD: Tensor, positions: Positions, at_R: Tensor, step: int
    ) -> Tensor:
        """l- of some positions' queries: [R, *], -inf where a candidate is no negative.

        Args:
            query_RD: the queries, already divided by tau.
            vectors_UD: the level's item side.
            positions: of the batch.
            at_R: which of them ask.
            step: how many steps ahead their targets stand.
        """


@dataclass(frozen=True, eq=False)
class SharedNegatives(Negatives):
    """Candidates that all positions share, each corrected by the log of its expected count.

    Attributes:
        candidate_C: their rows among the step's distinct items.
        log_q_C: the corrections.
        value_U: equal numbers are the same value and no negatives of each other: the item, or a feature's cell.
        user_C: who lent each candidate; given only where items of the same user are masked.
        asking_N: the users of the positions, numbered as in user_C.
    """

    candidate_C: Tensor
    log_q_C: Tensor
    value_U: Tensor
    user_C: Tensor | None = None
    asking_N: Tensor | None = None

    def logits(
        self, query_RD: Tensor, vectors_UD: Tensor, positions: Positions, at_R: Tensor, step: int
    ) -> Tensor:
        """[R, C]."""
        target_R = positions.row_N[at_R + step]
        same_RC = self.value_U[target_R][:, None] == self.value_U[self.candidate_C]
        if self.user_C is not None and self.asking_N is not None:
            same_RC = same_RC | (self.asking_N[at_R][:, None] == self.user_C)
        candidates_CD = vectors_UD.index_select(0, self.candidate_C)
        # added to the product, the mask costs the gradient nothing
        correction_RC = torch.where(same_RC, -torch.inf, -self.log_q_C.to(query_RD.dtype))
        return torch.addmm(correction_RC, query_RD, candidates_CD.T)


@dataclass(frozen=True, eq=False)
class SamePositionNegatives(Negatives):
    """Eq. 9 to the letter: the items that the batch's other users have at the target's position.

    Attributes:
        row_BT: the row of every item of the batch; -1 where padded.
        value_U: equal numbers are no negatives of each other.
    """

    row_BT: Tensor
    value_U: Tensor

    def logits(
        self, query_RD: Tensor, vectors_UD: Tensor, positions: Positions, at_R: Tensor, step: int
    ) -> Tensor:
        """[R, B]."""
        row_RB = self.row_BT.T[positions.time_N[at_R] + step]
        logits_RB = torch.einsum("rd,rbd->rb", query_RD, vectors_UD[row_RB.clamp(min=0)])
        target_R = positions.row_N[at_R + step]
        own_RB = self.value_U[target_R][:, None] == self.value_U[row_RB.clamp(min=0)]
        return logits_RB.masked_fill(own_RB | (row_RB < 0), -torch.inf)
