"""The most popular items, the same for everyone.

Shapes: B users, N items of the catalogue, C of them in a chunk, I ids of the item vocabulary.
"""

from typing import Self

import torch
from torch import Tensor

from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_schemas.generation import Generation


class Popular:
    """Scores an item by its number of training interactions."""

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self._count_N = table.train_count_I[table.catalogue_N].double()

    @classmethod
    def count(cls, generation: Generation, *, refit: bool = False) -> Self:
        """Take the counts that the generation carries (before histories were cut).

        Args:
            generation: which.
            refit: count the validation split's interactions too.
        """
        return cls(open_token_table(generation, features=(), user_features=(), refit=refit))

    def encode(self, batch: Batch) -> Tensor:
        """Nothing of a user matters: [B, 0]."""
        return torch.zeros((batch.users, 0))

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The counts, [B, C] float64."""
        return self._count_N[start:stop].repeat(len(users_BS), 1)
