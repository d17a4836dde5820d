"""The targets of the dense all-action loss (Pancha et al., 2022, "PinnerFormer"): random later items, not the next ones.

Shapes: B users, T items, N packed positions, R pairs.
"""

import torch

from heterrec_model.config import DenseConfig
from heterrec_model.data.batch import Batch
from heterrec_model.loss.negative_logits import PackedPositions, Pairs
from heterrec_schemas.values import MS_PER_DAY

LATER_MS = 1 << 60
"""Time of padding, later than all real times."""


def drawn_pairs(dense: DenseConfig, batch: Batch, packed: PackedPositions) -> Pairs:
    """Draw positions, at most `dense.positions` of each history, and a later item in the window of each."""
    valid_BT = batch.valid_BT()
    end_N = packed.time_N + packed.left_N + 1
    if dense.window_days is not None:
        time_BT = batch.timestamp_BT.masked_fill(~valid_BT, LATER_MS)
        latest_BT = time_BT + int(dense.window_days * MS_PER_DAY)
        end_BT = torch.searchsorted(time_BT.contiguous(), latest_BT, right=True)
        end_N = torch.minimum(end_N, end_BT[valid_BT])
    # items that are targets in another row are context only
    start_N = torch.maximum(packed.time_N + 1, packed.first_N)
    count_N = (end_N - start_N).clamp(min=0)
    share_N, order_N = torch.rand((2, len(count_N)), device=count_N.device)
    target_N = start_N + torch.minimum((share_N * count_N).long(), count_N - 1)
    order_BT = torch.full(valid_BT.shape, 2.0, device=valid_BT.device)
    order_BT = order_BT.masked_scatter(valid_BT, order_N.masked_fill(count_N == 0, 2.0))
    rank_BT = order_BT.argsort(dim=1, stable=True).argsort(dim=1)
    at_R = ((rank_BT[valid_BT] < dense.positions) & (count_N > 0)).nonzero().squeeze(1)
    target_R = at_R + target_N[at_R] - packed.time_N[at_R]
    return Pairs(at_R, target_R, packed.listed_N[target_R], known_R=at_R)
