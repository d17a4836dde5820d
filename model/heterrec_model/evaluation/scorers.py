"""What is ranked: anything that scores the whole catalogue for a user, a model's vectors or plain counts.

Shapes: B users, S numbers a user, N items of the catalogue, C of them in a chunk, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import RunError

ITEMS_AT_ONCE = 4096
"""Items whose vectors are computed at a time."""


class Scorer(Protocol):
    """Scores every item of the catalogue for every user.

    A user's state is small and computed once; the scores of a chunk of the catalogue follow from it, as often as they
    are asked for, always the same.
    """

    @property
    def table(self) -> TokenTable:
        """Whose catalogue is scored, in the order of `catalogue_N`."""

    def encode(self, batch: Batch) -> Tensor:
        """What the scores of these users depend on, [B, S]; its device is where the ranking happens."""

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """Scores of `catalogue_N[start:stop]`, finite floats [B, stop - start] that the caller may overwrite."""


class VectorScorer:
    """A model's scores: the dot products of user and item vectors, the item vectors computed once.

    Memory is N x D floats beside a chunk of scores.
    """

    def __init__(self, model: TwoTowerModel) -> None:
        """Compute the vectors of the whole catalogue.

        Raises:
            RunError: an item's vector is not finite.
        """
        self.model = model
        self.table = model.table
        self.device = device_of(model)
        self._items_ND = self._item_vectors()

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """The users' vectors, [B, D] float32."""
        with eval_mode(self.model):
            return self.model.user_vectors(batch.to(self.device)).float()

    @torch.no_grad()
    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The dot products with `catalogue_N[start:stop]`, [B, stop - start] float32."""
        return users_BS @ self._items_ND[start:stop].T

    @torch.no_grad()
    def _item_vectors(self) -> Tensor:
        with eval_mode(self.model):
            parts = [
                self.model.item_vectors(item_I.to(self.device)).float()
                for item_I in torch.split(self.table.catalogue_N, ITEMS_AT_ONCE)
            ]
        items_ND = torch.cat(parts)
        odd_N = ~items_ND.isfinite().all(dim=1).cpu()
        if odd_N.any():
            ids = self.table.item_ids(self.table.catalogue_N[odd_N][:5].tolist())
            raise RunError(
                "the vectors of items are not finite",
                got=f"NaN or inf for {int(odd_N.sum()):,} of {len(odd_N):,} items, such as {ids}",
                todo="The checkpoint holds a run that had diverged; take an earlier one.",
            )
        return items_ND


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and back on where it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
