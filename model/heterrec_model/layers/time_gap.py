"""The time-gap bias P of Eq. 1 and 2: one learned scalar per bucket of the time between two interactions.

Shapes: B users, T items, G 1 or the number of heads, L layers.
"""

import torch
from torch import Tensor, nn

from heterrec_model.config import TimeGapConfig
from heterrec_model.layers.narrow_lookup import column_lookup

LONGEST_S = 10 * 365.25 * 86_400.0
"""Lower edge of the last bucket, in seconds."""


class TimeGap(nn.Module):
    """TGBkt and LookUp of Eq. 2, for all layers of a stack at once.

    Buckets are log-spaced from one second to ten years; bucket 0 holds gaps below a second, the last bucket all longer
    gaps. Tables start at zero, so an untrained model ignores time. The tokens of an item share its bias, which is
    therefore computed at T x T, independently of K.
    """

    edges: Tensor

    def __init__(self, config: TimeGapConfig, layers: int, heads: int) -> None:
        super().__init__()
        self.layers = layers
        self.groups = heads if config.per_head else 1
        edges = torch.logspace(0, torch.tensor(LONGEST_S).log10().item(), config.buckets - 1)
        self.register_buffer("edges", edges, persistent=False)
        self.table = nn.Parameter(torch.zeros(config.buckets, layers * self.groups))

    def buckets(self, timestamp_BT: Tensor) -> Tensor:
        """TGBkt: bucket of query time - key time; [B, T, T]. Timestamps are in ms; negative gaps count as 0."""
        gap_BTT = (timestamp_BT[:, :, None] - timestamp_BT[:, None, :]).clamp(min=0)
        return torch.bucketize(gap_BTT.float() / 1000.0, self.edges, right=True, out_int32=True)

    def forward(self, timestamp_BT: Tensor) -> list[Tensor]:
        """P of every layer: L tensors of [B, G, T, T], not yet divided by sqrt(d_k)."""
        columns = column_lookup(self.buckets(timestamp_BT), self.table)
        layers = range(0, len(columns), self.groups)
        return [torch.stack(list(columns[x : x + self.groups]), dim=1) for x in layers]
