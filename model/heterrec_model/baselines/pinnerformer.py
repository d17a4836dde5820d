"""PinnerFormer (Pancha et al., 2022): a causal transformer trained with the dense all-action loss.

At random positions of a history, the target is a random one of the user's items in the time window after the position,
instead of the next item. The network is that of SASRec with time gaps, so that the two differ in the targets alone.

Shapes: B users, T items, N packed positions, R pairs.
"""

from dataclasses import dataclass

from torch import Tensor

from heterrec_model.baselines.sasrec_time import SASRecTime
from heterrec_model.data.batch import Batch
from heterrec_model.loss.dense_targets import drawn_pairs
from heterrec_model.loss.lmp import MultiStepLoss
from heterrec_model.loss.negative_logits import PackedPositions, Pairs, pack_positions
from heterrec_model.model_settings import UNREAD


class PinnerFormer(SASRecTime):
    """`SASRecTime` trained with the dense all-action loss of `loss.dense`; there is one step, and no gate."""

    unread = UNREAD["pinnerformer"]

    def dense_pairs(self, batch: Batch, positions: PackedPositions) -> None:
        """No further targets."""

    def item_loss(self) -> MultiStepLoss:
        """The loss of one step."""
        return MultiStepLoss(self.config.loss, self.config.model.width, one_step=True)

    def positions_of(self, batch: Batch, row_N: Tensor, listed_N: Tensor) -> PackedPositions:
        """Draw the positions of a training batch that predict an item, and these items."""
        packed = pack_positions(batch, row_N, listed_N)
        return DensePositions(
            **vars(packed), drawn=drawn_pairs(self.config.loss.dense, batch, packed)
        )


@dataclass(frozen=True, eq=False)
class DensePositions(PackedPositions):
    """Positions of which some predict a later item each.

    Attributes:
        drawn: these positions and their targets.
    """

    drawn: Pairs

    def pairs(self, step: int) -> Pairs:
        """The drawn pairs."""
        return self.drawn
