"""Positions of items in the catalogue's row order."""

import torch
from torch import Tensor

NO_ROW = -1
"""The place of an item that the catalogue has no row of."""


class CataloguePositions:
    """Where an item stands in the catalogue."""

    def __init__(self, catalogue_N: Tensor) -> None:
        largest = int(catalogue_N[-1]) if len(catalogue_N) else 0
        self._place_I = torch.full((largest + 1,), NO_ROW)
        self._place_I[catalogue_N] = torch.arange(len(catalogue_N))

    def of(self, item_P: Tensor) -> Tensor:
        """The places of some item_index, int64; NO_ROW where the catalogue has no row."""
        inside_P = item_P < len(self._place_I)
        found_P = self._place_I[item_P.clamp(max=len(self._place_I) - 1)]
        return torch.where(inside_P, found_P, NO_ROW)
