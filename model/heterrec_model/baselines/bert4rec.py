"""BERT4Rec (Sun et al., 2019): bidirectional attention, trained by masking items and predicting them.

Inputs, tables, item tower, behaviours, user tokens, loss and negatives are those of SASRec. A position counts from the end of
the history, so that the last item has the same one whatever the length: training masks it as inference does, which appends a
masked item. The loss of a masked position predicts the item of that position; there is one step, and no gate.

Shapes: B users, T items, N packed positions, S items with the mask and prefix tokens, H heads, E = D / H, D width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.baselines.sasrec import SASRec
from heterrec_model.config import Config, ModelConfig
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.layers.hct import CausalStack, SelfAttention
from heterrec_model.loss.lmp import MultiStepLoss
from heterrec_model.loss.negative_logits import PackedPositions, Pairs, pack_positions
from heterrec_model.model_settings import UNREAD
from heterrec_model.two_tower import UserStates


class BERT4Rec(SASRec):
    """`SASRec` with bidirectional attention, trained by the cloze task of `model.cloze`.

    The mask takes the place of an item: a history of `max_length` items loses its oldest one at inference. The repeat term of
    a masked item counts the items before it; the first item of a history is then not masked.
    """

    unread = UNREAD["bert4rec"]

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        self.mask = nn.Parameter(torch.randn(config.model.width) * config.model.table_std)

    def make_blocks(self, model: ModelConfig) -> nn.Module:
        """A stack in which all items attend to all items."""
        return CausalStack(model, model.item_blocks, 1, attention=BidirectionalAttention)

    def dense_pairs(self, batch: Batch, positions: PackedPositions) -> None:
        """No further targets."""

    def item_loss(self) -> MultiStepLoss:
        """The loss of one step."""
        return MultiStepLoss(self.config.loss, self.config.model.width, one_step=True)

    def positions_of(self, batch: Batch, row_N: Tensor, listed_N: Tensor) -> PackedPositions:
        """Draw the masked items of a training batch."""
        packed = pack_positions(batch, row_N, listed_N)
        cloze = self.config.model.cloze
        # items that are targets in another row are context only
        allowed_N, last_N = packed.is_target(), packed.left_N == 0
        if self.repeats is not None:
            allowed_N = allowed_N & (packed.time_N > 0)
        share = torch.rand(len(row_N), device=row_N.device)
        last_only_B = torch.rand(batch.users, device=row_N.device) < cloze.last_only
        drawn_N = share < cloze.mask_share
        # a history without a masked item has its last one masked
        none_B = torch.ones_like(last_only_B).index_fill(
            0, packed.user_N[drawn_N & allowed_N], False
        )
        last_only_N = (last_only_B | none_B)[packed.user_N]
        masked_N = allowed_N & torch.where(last_only_N, last_N, drawn_N)
        return ClozePositions(**vars(packed), masked_N=masked_N)

    def training_states(
        self, e_UKD: Tensor, row_BT: Tensor, batch: Batch, positions: PackedPositions
    ) -> UserStates:
        """The outputs of all items of a training batch, some of which are masked."""
        assert isinstance(positions, ClozePositions)
        valid_BT = batch.valid_BT()
        masked_BT = torch.zeros_like(valid_BT).masked_scatter(valid_BT, positions.masked_N)
        x_BTD = self.sums(e_UKD[row_BT], batch)
        return UserStates(self._outputs(x_BTD, masked_BT, batch.length_B - 1, batch, None))

    def encode(self, e_BTKD: Tensor, batch: Batch, last_B: Tensor | None = None) -> UserStates:
        """The output of a mask behind an item; with `last_B` None behind every item, one pass for each column."""
        x_BTD = self.sums(e_BTKD, batch)
        if last_B is not None:
            return UserStates(self._behind(x_BTD, batch, last_B))
        columns = [
            self._behind(x_BTD, batch, torch.full_like(batch.length_B, t))
            for t in range(x_BTD.shape[1])
        ]
        return UserStates(torch.cat(columns, dim=1))

    def _behind(self, x_BTD: Tensor, batch: Batch, last_B: Tensor) -> Tensor:
        """The output of a mask behind the item `last_B`, without the later ones: [B, 1, D]."""
        longer_BTD = torch.cat([x_BTD, torch.zeros_like(x_BTD[:, :1])], dim=1)
        end_B = last_B + 1
        places_T = torch.arange(longer_BTD.shape[1], device=end_B.device)
        return self._outputs(longer_BTD, places_T == end_B[:, None], end_B, batch, end_B)

    def _outputs(
        self,
        x_BTD: Tensor,
        masked_BT: Tensor,
        end_B: Tensor,
        batch: Batch,
        only_B: Tensor | None,
    ) -> Tensor:
        """The outputs of histories that end at `end_B`: [B, T, D], or [B, 1, D] of the items `only_B`."""
        x_BTD = torch.where(masked_BT[..., None], self.mask.to(x_BTD.dtype), x_BTD)
        left_BT = end_B[:, None] - torch.arange(x_BTD.shape[1], device=end_B.device)
        most = self.config.model.max_length
        x_BTD = x_BTD + self.positions[left_BT.clamp(min=0, max=most - 1)]
        x_BSD = dropout(self.norm(x_BTD), self.dropout, self.training)
        hidden_BS = (left_BT < 0) | (left_BT >= most)
        assert self.user_tokens is not None
        prefix_BPD = self.user_tokens(batch.user_features)
        prefix = 0
        if prefix_BPD is not None:
            prefix = prefix_BPD.shape[1]
            x_BSD = torch.cat([prefix_BPD, x_BSD], dim=1)
            hidden_BS = F.pad(hidden_BS, (prefix, 0))
        bias_BS = torch.zeros_like(x_BSD[..., 0]).masked_fill(hidden_BS, -math.inf)
        bias_B1SS = bias_BS[:, None, None].expand(-1, -1, bias_BS.shape[1], -1)
        biases = [bias_B1SS] * self.config.model.item_blocks
        if only_B is not None:
            only: Tensor = self.blocks(x_BSD, biases, only_B + prefix)
            return only
        outputs: Tensor = self.blocks(x_BSD, biases)
        return outputs[:, prefix:]


@dataclass(frozen=True, eq=False)
class ClozePositions(PackedPositions):
    """Positions that predict their own items where these are masked.

    Attributes:
        masked_N: whether the item is masked.
    """

    masked_N: Tensor

    def pairs(self, step: int) -> Pairs:
        """The masked positions, each with itself."""
        at_R = self.masked_N.nonzero().squeeze(1)
        # without a repeat term, the first item of a history may be masked, which nothing precedes
        known_R = at_R - (self.time_N[at_R] > 0).long()
        return Pairs(at_R, at_R, torch.ones_like(at_R, dtype=torch.bool), known_R)


class BidirectionalAttention(SelfAttention):
    """Attention in which every item sees all keys whose bias is not -inf."""

    def forward(self, x_BSD: Tensor, bias_BGTT: Tensor | None, tokens: int) -> Tensor:
        """Attend over items of one token: [B, S, D]."""
        assert bias_BGTT is not None
        heads = self.qkv(x_BSD).unflatten(-1, (3, self.config.heads, -1)).permute(2, 0, 3, 1, 4)
        q_BHSE, k_BHSE, v_BHSE = heads.unbind(0)
        scores_BHSS = (q_BHSE / math.sqrt(q_BHSE.shape[-1])) @ k_BHSE.transpose(-1, -2) + bias_BGTT
        weights_BHSS = torch.softmax(scores_BHSS, dim=-1)
        weights_BHSS = dropout(weights_BHSS, self.config.attention_dropout, self.training)
        mixed: Tensor = self.out((weights_BHSS @ v_BHSE).transpose(1, 2).flatten(2))
        return mixed
