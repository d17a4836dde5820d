"""HeterRec, Figure 2 of the paper: HTFL, HCT and the item tower, trained with LMP.

Shapes: B users, T items, K tokens per item, D width, P prefix tokens.
"""

from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.layers.hct import HCT
from heterrec_model.layers.htfl import HTFL
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.layers.time_gap import TimeGap
from heterrec_model.layers.user_tokens import UserTokens
from heterrec_model.model_settings import UNREAD
from heterrec_model.two_tower import TwoTowerModel, UserStates, token_losses


class HeterRec(TwoTowerModel):
    """The whole model."""

    unread = UNREAD["heterrec"]

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        model = config.model
        self.htfl = HTFL(model, tables.tokens, table.behaviours)
        layers = model.token_blocks + model.item_blocks
        if model.time_gap.enabled and layers:
            self.time_gap = TimeGap(model.time_gap, layers, model.heads)
        self.layers = layers
        self.user_tokens = UserTokens(model, table.user_features if model.item_blocks else ())
        self.hct = HCT(model, self.htfl.tokens)
        self.tower = ItemTower(model, tables.tokens)
        if config.loss.token_weight:
            self.token_lmp = token_losses(config, tables)

    def encode(self, e_BTKD: Tensor, batch: Batch, last_B: Tensor | None = None) -> UserStates:
        """HTFL, then HCT with time gaps and user features."""
        h_BSD, raw_BTD = self.htfl(e_BTKD, batch.behaviour_BT)
        biases: list[Tensor | None] = [None] * self.layers
        if self.time_gap is not None:
            biases = list(self.time_gap(batch.timestamp_BT))
        assert self.user_tokens is not None
        prefix_BPD = self.user_tokens(batch.user_features)
        h_BTKD, u_BTD = self.hct(h_BSD, raw_BTD, prefix_BPD, biases, last_B)
        return UserStates(u_BTD, h_BTKD)
