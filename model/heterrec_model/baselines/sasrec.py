"""SASRec (Kang and McAuley, 2018): one vector per item, causal self-attention over items.

`model.features: []` is the original, with ids alone. With features it is the homogeneous model of Figure 1 (c): an item is
the sum of its embeddings; tables, item tower, behaviours and user tokens are those of HeterRec.
Shapes: B users, T items, K tokens per item, P prefix tokens, D width.
"""

import torch
from torch import Tensor, nn

from heterrec_model.config import Config, ModelConfig
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.layers.hct import CausalStack, after_prefix
from heterrec_model.layers.htfl import behaviour_table
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.layers.time_gap import TimeGap
from heterrec_model.layers.user_tokens import UserTokens
from heterrec_model.model_settings import UNREAD
from heterrec_model.two_tower import TwoTowerModel, UserStates, token_losses


class SASRec(TwoTowerModel):
    """`item_blocks` causal blocks over one vector per item, trained with the item-level loss.

    It has every input of HeterRec except time gaps, which `SASRecTime` adds.
    """

    unread = UNREAD["sasrec"]
    with_time_gaps = False

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        model = config.model
        self.positions = nn.Parameter(torch.randn(model.max_length, model.width) * model.table_std)
        self.norm = nn.LayerNorm(model.width)
        self.dropout = model.dropout
        self.blocks = self.make_blocks(model)
        self.tower = ItemTower(model, tables.tokens) if tables.tokens > 1 else IdOnlyTower()
        self.behaviour = behaviour_table(model, table.behaviours)
        self.user_tokens = UserTokens(model, table.user_features if model.item_blocks else ())
        if model.token_heads:
            self.token_lmp = token_losses(config, tables)
        if self.with_time_gaps and model.time_gap.enabled and model.item_blocks:
            self.time_gap = TimeGap(model.time_gap, model.item_blocks, model.heads)

    def make_blocks(self, model: ModelConfig) -> nn.Module:
        """The blocks, for `after_prefix`."""
        return CausalStack(model, model.item_blocks, 1)

    def encode(self, e_BTKD: Tensor, batch: Batch, last_B: Tensor | None = None) -> UserStates:
        """LN(sum of the item's embeddings, its behaviour's and its position's), dropout, causal blocks."""
        x_BTD = self.sums(e_BTKD, batch) + self.positions[: e_BTKD.shape[1]]
        x_BTD = dropout(self.norm(x_BTD), self.dropout, self.training)
        assert self.user_tokens is not None
        prefix_BPD = self.user_tokens(batch.user_features)
        u_BTD = after_prefix(self.blocks, x_BTD, prefix_BPD, self.biases(batch), last_B)
        return UserStates(u_BTD)

    def sums(self, e_BTKD: Tensor, batch: Batch) -> Tensor:
        """The sum of each item's embeddings and its behaviour's: [B, T, D]."""
        x_BTD = e_BTKD.sum(2)
        if self.behaviour is not None:
            assert batch.behaviour_BT is not None
            x_BTD = x_BTD + self.behaviour(batch.behaviour_BT)
        return x_BTD

    def biases(self, batch: Batch) -> list[Tensor | None]:
        """P of every block between the items."""
        if self.time_gap is None:
            return [None] * self.config.model.item_blocks
        return list(self.time_gap(batch.timestamp_BT))


class IdOnlyTower(nn.Module):
    """Item tower without parameters: the item vector is the id's embedding."""

    def forward(self, e_NKD: Tensor) -> tuple[None, Tensor]:
        """No token vectors, and the item vectors [N, D]."""
        return None, e_NKD.squeeze(1)
