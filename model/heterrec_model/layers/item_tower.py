"""The item tower, Section 2.2: hierarchical MLPs over the embedding tables that it shares with HTFL.

Shapes: N items, K tokens per item, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import ModelConfig


class ItemTower(nn.Module):
    """v^s = MLP_s(e^s) for each of K tokens s, then V = MLP(v^1 .. v^K); no position, type or behaviour.

    The paper has the MLPs alone. `token_skip` adds e^s to v^s and the sum of all e^s to V; `id_skip` adds the embedding
    of the item id to V.
    """

    def __init__(self, config: ModelConfig, tokens: int) -> None:
        super().__init__()
        width = config.width
        self.inner = nn.Parameter(torch.empty(tokens, width, width))
        self.inner_bias = nn.Parameter(torch.zeros(tokens, 1, width))
        self.outer = nn.Parameter(torch.empty(tokens, width, width))
        self.outer_bias = nn.Parameter(torch.zeros(tokens, 1, width))
        for weight in (self.inner, self.outer):
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)
        self.fuse_inner = nn.Linear(tokens * width, 2 * width)
        self.fuse_outer = nn.Linear(2 * width, width)
        self.token_skip = config.item_tower.token_skip
        self.id_skip = config.item_tower.id_skip and config.item_id

    def forward(self, e_NKD: Tensor) -> tuple[Tensor, Tensor]:
        """The token vectors v as [N, K, D] and the item vectors V as [N, D]."""
        e_KND = e_NKD.transpose(0, 1)
        hidden_KND = F.relu(torch.baddbmm(self.inner_bias, e_KND, self.inner))
        v_NKD = torch.baddbmm(self.outer_bias, hidden_KND, self.outer).transpose(0, 1)
        if self.token_skip:
            v_NKD = v_NKD + e_NKD
        v_ND: Tensor = self.fuse_outer(F.relu(self.fuse_inner(v_NKD.flatten(1))))
        if self.token_skip:
            v_ND = v_ND + e_NKD.sum(1)
        if self.id_skip:
            v_ND = v_ND + e_NKD[:, 0]
        return v_NKD, v_ND
