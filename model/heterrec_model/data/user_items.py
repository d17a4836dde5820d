"""Pairs of users and items, and scores that are added for them.

Shapes: P pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class UserItemPairs:
    """Pairs of a user and an item.

    Attributes:
        user_P: row of the user in the block, int64.
        position_P: position of the item in the catalogue, int64; NO_ROW without a row.
    """

    user_P: Tensor
    position_P: Tensor

    def __len__(self) -> int:
        return len(self.user_P)

    def where(self, chosen_P: Tensor) -> "UserItemPairs":
        """The pairs selected by a mask or an index."""
        return UserItemPairs(self.user_P[chosen_P], self.position_P[chosen_P])

    def to(self, device: torch.device) -> "UserItemPairs":
        """Move the pairs to a device."""
        return UserItemPairs(self.user_P.to(device), self.position_P.to(device))


@dataclass(frozen=True, eq=False)
class AddedScores:
    """Scores of some pairs, to be added to those of `Scorer.scores`.

    Attributes:
        pairs: distinct pairs of a user of a batch and an item with a row in the catalogue.
        score_P: finite floats.
    """

    pairs: UserItemPairs
    score_P: Tensor
