"""SASRec (Kang and McAuley, 2018): one vector per item, causal self-attention over items.

`model.features: []` is the original, with ids alone. With features it is the homogeneous model of Figure 1 (c): an item is
the sum of its embeddings; tables and item tower are those of HeterRec.
Shapes: B users, T items, K tokens per item, D width.
"""

import torch
from torch import Tensor, nn

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.layers.hct import CausalStack
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.two_tower import TwoTowerModel, UserStates


class SASRec(TwoTowerModel):
    """`item_blocks` causal blocks over one vector per item, trained with the item-level loss.

    `token_blocks`, `time_gap` and `token_weight` are ignored.
    """

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        model = config.model
        self.positions = nn.Parameter(torch.randn(model.max_length, model.width) * model.table_std)
        self.norm = nn.LayerNorm(model.width)
        self.dropout = model.dropout
        self.blocks = CausalStack(model, model.item_blocks, 1)
        self.tower = ItemTower(model, tables.tokens) if tables.tokens > 1 else IdOnlyTower()

    def encode(self, e_BTKD: Tensor, batch: Batch) -> UserStates:
        """LN(sum of the item's embeddings + position), dropout, causal blocks."""
        x_BTD = e_BTKD.sum(2) + self.positions[: e_BTKD.shape[1]]
        x_BTD = dropout(self.norm(x_BTD), self.dropout, self.training)
        return UserStates(self.blocks(x_BTD, [None] * len(self.blocks.blocks)))


class IdOnlyTower(nn.Module):
    """Item tower without parameters: the item vector is the id's embedding."""

    def forward(self, e_NKD: Tensor) -> tuple[None, Tensor]:
        """No token vectors, and the item vectors [N, D]."""
        return None, e_NKD.squeeze(1)
