"""Items that the user had before, most often and most recently first.

Shapes: B users, E items of all histories, P pairs of a user and an item, C items of a catalogue chunk.
"""

from functools import cached_property

import torch
from torch import Tensor

from heterrec_model.baselines.counting import CountingBaseline
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.inputs import EARLIER_ITEMS, ITEM_IDS, LAST_ITEM
from heterrec_model.data.own_items import own_items
from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_schemas.values import MS_PER_DAY

HALF_LIFE_DAYS = 180.0
"""Had the best nDCG@50 on the validation split of a quarter of The Complete Journey, of 7 to 365 days and no decay."""


class Repeat(CountingBaseline):
    """Scores an item by how often the user had it; an occurrence loses half of its weight in HALF_LIFE_DAYS.

    The whole history of the generation's row counts. Items that the user did not have are ordered by popularity after the
    others.
    """

    inputs = frozenset({ITEM_IDS, LAST_ITEM, EARLIER_ITEMS})

    @cached_property
    def _positions(self) -> CataloguePositions:
        return CataloguePositions(self.table.catalogue_N)

    def encode(self, batch: Batch) -> Tensor:
        """[B, 0]: scores of items that the user did not have do not depend on the user."""
        return torch.zeros((batch.users, 0))

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The popularity as a share, below 1, [B, C] float64."""
        most = self.popularity_N.max() if len(self.popularity_N) else 0
        return (self.popularity_N[start:stop] / (1 + most)).repeat(len(users_BS), 1)

    def added(self, batch: Batch, users_BS: Tensor) -> AddedScores:
        """1 + the decayed counts of the items of every history."""
        history = batch.all_items()
        own, pair_E = own_items(history)
        newest_P = own.last_ms_P + own.gap_ms_P
        age_E = (newest_P[pair_E] - history.timestamp_E).double() / MS_PER_DAY
        weight_P = torch.zeros(len(own.item_P), dtype=torch.float64)
        weight_P.index_add_(0, pair_E, torch.exp2(-age_E / HALF_LIFE_DAYS))
        position_P = self._positions.of(own.item_P)
        chosen_P = position_P != NO_ROW
        pairs = UserItemPairs(own.user_P, position_P).where(chosen_P)
        return AddedScores(pairs, 1 + weight_P[chosen_P])
