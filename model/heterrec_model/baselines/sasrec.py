"""SASRec (Kang and McAuley, 2018): one vector an item, causal self-attention over items.

`model.features: []` is the original, ids alone. With features it is the paper's opponent
of one homogeneous vector an item (Figure 1 c): the features are summed, and the tables and the item tower are HeterRec's.
Shapes: B users, T items, K tokens an item, D width.
"""

import torch
from torch import Tensor, nn

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.hct import CausalStack
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.layers.tables import ItemTables
from heterrec_model.two_tower import TwoTowerModel, UserStates


class SASRec(TwoTowerModel):
    """`item_blocks` causal blocks over one vector an item; the loss is that of the same steps, without tokens.

    Args:
        config: the whole run's; token_blocks, the time gap and the token-level loss have no meaning here.
        table: the generation's items.
        tables: the features' embeddings.
    """

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        model = config.model
        self.positions = nn.Parameter(torch.randn(model.max_length, model.width) * model.table_std)
        self.norm = nn.LayerNorm(model.width)
        self.dropout = model.dropout
        self.blocks = CausalStack(model, model.item_blocks, 1)
        self.tower = ItemTower(model, tables.tokens) if tables.tokens > 1 else Tied()

    def encode(self, e_BTKD: Tensor, batch: Batch) -> UserStates:
        """LN(sum of the item's embeddings + position), dropout, the blocks."""
        x_BTD = e_BTKD.sum(2) + self.positions[: e_BTKD.shape[1]]
        x_BTD = dropout(self.norm(x_BTD), self.dropout, self.training)
        return UserStates(self.blocks(x_BTD, [None] * len(self.blocks.blocks)))


class Tied(nn.Module):
    """An item's vector is its id's embedding."""

    def forward(self, e_NKD: Tensor) -> tuple[None, Tensor]:
        """[N, D]."""
        return None, e_NKD.squeeze(1)
