"""The Heterogeneous Token Flattening Layer, Section 2.3: a history becomes a sequence of K tokens per item.

Shapes: B users, T items, K tokens per item in the user tower, D width.
"""

import torch
from torch import Tensor, nn

from heterrec_model.config import ModelConfig
from heterrec_model.layers.dropout import dropout


class HTFL(nn.Module):
    """Adds position and type to the feature embeddings of a history, and flattens them.

    The embeddings come from the tables that the item tower shares. Each token gets the position of its item and the type
    of its feature; `literal: true` omits both. A behaviour is a token of the user tower only.

    Args:
        config: configuration of the model.
        item_tokens: number of tokens per item in the tables.
        behaviours: number of behaviour ids, 0 if the generation has no behaviours.
    """

    def __init__(self, config: ModelConfig, item_tokens: int, behaviours: int) -> None:
        super().__init__()
        self.behaviour = behaviour_table(config, behaviours)
        self.tokens = item_tokens + (self.behaviour is not None)
        self.positions: nn.Parameter | None = None
        self.types: nn.Parameter | None = None
        if not config.literal:
            self.positions = nn.Parameter(
                torch.randn(config.max_length, config.width) * config.table_std
            )
            self.types = nn.Parameter(torch.randn(self.tokens, config.width) * config.table_std)
            self.norm = nn.LayerNorm(config.width)
        self.dropout = config.dropout

    def forward(self, e_BTKD: Tensor, behaviour_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """Flatten a history.

        Args:
            e_BTKD: embeddings of the item features.
            behaviour_BT: ids of the behaviours, or None.

        Returns:
            H_0 as [B, T * K, D], item-major, and the sum of each item's embeddings and its position, [B, T, D].
        """
        if self.behaviour is not None:
            assert behaviour_BT is not None
            e_BTKD = torch.cat([e_BTKD, self.behaviour(behaviour_BT)[:, :, None]], dim=2)
        raw_BTD = e_BTKD.sum(2)
        if self.positions is not None and self.types is not None:
            position_TD = self.positions[: e_BTKD.shape[1]]
            raw_BTD = raw_BTD + position_TD
            e_BTKD = self.norm(e_BTKD + position_TD[:, None] + self.types)
        h_BSD = dropout(e_BTKD.flatten(1, 2), self.dropout, self.training)
        return h_BSD, raw_BTD


def behaviour_table(config: ModelConfig, behaviours: int) -> nn.Embedding | None:
    """The embeddings of the behaviours; None if the generation has none or the config does not use them."""
    if not (behaviours and config.behaviour):
        return None
    table = nn.Embedding(behaviours, config.width)
    nn.init.normal_(table.weight, std=config.table_std)
    return table
