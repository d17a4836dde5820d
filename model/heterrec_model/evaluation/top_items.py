"""The best items of every user, and the lengths of the histories, collected while a split is evaluated.

Shapes: U users, P targets of all users, K items.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heterrec_model.data.catalogue_positions import CataloguePositions
from heterrec_model.data.user_items import UserItemPairs
from heterrec_model.evaluation.per_user import EncodedUsers
from heterrec_model.evaluation.ranking import UserBlock, best_items
from heterrec_model.evaluation.scorers import Scorer

Ints = npt.NDArray[np.int64]


class TopItems:
    """The best items of all users so far, for `on_block` of `evaluate.evaluate_scorer`.

    Args:
        scorer: that is evaluated.
        k: number of items per user.
        chunk_items: number of items scored at a time.
        candidates_N: which items of the catalogue are ranked; None all.
        filter_seen: whether the items of the history, targets included, are left out.
    """

    def __init__(
        self,
        scorer: Scorer,
        k: int,
        chunk_items: int,
        candidates_N: Tensor | None,
        *,
        filter_seen: bool,
    ) -> None:
        self._scorer, self._k, self._filter_seen = scorer, k, filter_seen
        self._chunk_items, self._candidates_N = chunk_items, candidates_N
        self._positions = CataloguePositions(scorer.table.catalogue_N)
        self._best: list[Tensor] = [torch.zeros((0, k), dtype=torch.int64)]
        self._lengths: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
        self._targets: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]

    def add(self, encoded: EncodedUsers) -> None:
        """Find the best items of a block of users."""
        user_E, item_E = encoded.histories()
        seen = UserItemPairs(user_E, self._positions.of(item_E)) if self._filter_seen else None
        block = UserBlock(torch.cat(encoded.states), encoded.user_ids, seen, encoded.added())
        self._best.append(
            best_items(
                self._scorer,
                block,
                self._k,
                chunk_items=self._chunk_items,
                candidates_N=self._candidates_N,
            )
        )
        self._lengths.append(encoded.history_lengths())
        self._targets.append(encoded.targets()[1])

    @property
    def position_UK(self) -> Ints:
        """Positions in the catalogue, best first; NO_ROW where fewer items are ranked."""
        return torch.cat(self._best).numpy()

    @property
    def length_U(self) -> Ints:
        """Number of interactions in the histories."""
        return torch.cat(self._lengths).numpy()

    @property
    def target_P(self) -> Ints:
        """item_index of the targets, in the order of `TargetRanks`."""
        return torch.cat(self._targets).numpy()
