"""Scorers of the whole catalogue: the interface, and the dot products of a model.

Shapes: B users, S numbers per user, N catalogue items, C items of a catalogue chunk, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.own_items import own_items
from heterrec_model.data.token_table import TokenTable
from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import RunError

ITEMS_AT_ONCE = 4096
"""Number of items whose vectors are computed at a time."""
_PAIRS_AT_ONCE = 16_384
"""Number of pairs of a user and an item whose repeat term is computed at a time: their vectors are gathered."""


class Scorer(Protocol):
    """Scores every catalogue item for every user.

    The state of a user is small and computed once; the scores of a catalogue chunk are computed from it repeatedly, with
    equal results.
    """

    @property
    def table(self) -> TokenTable:
        """The token table, whose `catalogue_N` is scored."""

    def encode(self, batch: Batch) -> Tensor:
        """The state of the users, [B, S]; ranking runs on its device."""

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """Scores of `catalogue_N[start:stop]`, finite floats [B, stop - start] that the caller may overwrite."""

    def added(self, batch: Batch, users_BS: Tensor) -> AddedScores | None:
        """Scores to add for some pairs of a user and an item, those of the user's history; None without any.

        Args:
            batch: with the earlier items of the histories.
            users_BS: the state of its users.
        """


class VectorScorer:
    """Dot products of a model's user vectors and item vectors; the item vectors are computed once.

    Memory is N x D floats besides a chunk of scores. The model stays in its mode, training or evaluation.

    Attributes:
        items_ND: the vectors of the catalogue, float32, in the order of `table.catalogue_N`.

    Raises:
        RunError: an item vector is not finite.
    """

    def __init__(self, model: TwoTowerModel) -> None:
        self.model = model
        self.table = model.table
        self.device = device_of(model)
        self.items_ND = self._item_vectors()
        self._positions = CataloguePositions(self.table.catalogue_N)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """The user vectors, [B, D] float32."""
        with eval_mode(self.model):
            return self.model.user_vectors(batch.to(self.device)).float()

    @torch.no_grad()
    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The dot products with `catalogue_N[start:stop]`, [B, stop - start] float32."""
        return users_BS @ self.items_ND[start:stop].T

    @torch.no_grad()
    def added(self, batch: Batch, users_BS: Tensor) -> AddedScores | None:
        """The repeat term of the items in the histories; None for a model without it."""
        repeats = self.model.repeats
        if repeats is None:
            return None
        own, _ = own_items(batch.to(self.device).all_items())
        position_P = self._positions.of(own.item_P.cpu()).to(self.device)
        own, position_P = own.where(position_P != NO_ROW), position_P[position_P != NO_ROW]
        popularity_P, parts = self.model.popularity_I[own.item_P], [users_BS.new_zeros(0)]
        for start in range(0, len(position_P), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            items_PD = self.items_ND[position_P[part]]
            parts.append(repeats.scores(own.where(part), popularity_P[part], users_BS, items_PD))
        score_P = self.model.config.loss.temperature * torch.cat(parts)
        return AddedScores(UserItemPairs(own.user_P, position_P), score_P)

    @torch.no_grad()
    def _item_vectors(self) -> Tensor:
        with eval_mode(self.model):
            parts = [
                self.model.item_vectors(item_I.to(self.device)).float()
                for item_I in torch.split(self.table.catalogue_N, ITEMS_AT_ONCE)
            ]
        items_ND = torch.cat(parts)
        bad_N = ~items_ND.isfinite().all(dim=1).cpu()
        if bad_N.any():
            ids = self.table.item_ids(self.table.catalogue_N[bad_N][:5].tolist())
            raise RunError(
                "item vectors are not finite",
                got=f"NaN or inf for {int(bad_N.sum()):,} of {len(bad_N):,} items, such as {ids}",
                todo=DIVERGED,
            )
        return items_ND


DIVERGED = "The run had diverged at this checkpoint; use an earlier one."
"""Advice about scores that are not finite."""


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's weights."""
    return next(model.parameters()).device


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode (no dropout) during the block, and then restore the previous mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
