"""The most popular items, equal for all users.

Shapes: B users, C items of a catalogue chunk.
"""

import torch
from torch import Tensor

from heterrec_model.baselines.counting import CountingBaseline
from heterrec_model.data.batch import Batch


class Popular(CountingBaseline):
    """Scores an item by its number of training interactions, counted before histories were truncated."""

    def encode(self, batch: Batch) -> Tensor:
        """[B, 0]: scores do not depend on the user."""
        return torch.zeros((batch.users, 0))

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The counts, [B, C] float64."""
        return self.popularity_N[start:stop].repeat(len(users_BS), 1)
