"""Positions of items in the catalogue's row order."""

import torch
from torch import Tensor

NO_ROW = -1
"""Position of an item without a row in the catalogue."""


class CataloguePositions:
    """Maps item_index to positions in the catalogue, whose item_index are ascending."""

    def __init__(self, catalogue_N: Tensor) -> None:
        largest = int(catalogue_N[-1]) if len(catalogue_N) else 0
        self._position_I = torch.full((largest + 1,), NO_ROW)
        self._position_I[catalogue_N] = torch.arange(len(catalogue_N))

    def of(self, item_P: Tensor) -> Tensor:
        """Positions of some items, int64; NO_ROW for an item without a row."""
        inside_P = item_P < len(self._position_I)
        position_P = self._position_I[item_P.clamp(max=len(self._position_I) - 1)]
        return torch.where(inside_P, position_P, NO_ROW)
