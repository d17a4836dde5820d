"""HSTU (Zhai et al., 2024, "Actions speak louder than words"): pointwise aggregated attention in place of softmax and FFN.

Inputs, tables, item tower, behaviours and user tokens are those of SASRec; the bias of attention has a part by position and
one by time. The time part is the time between two items of the history. The time of the target, which the authors' code
also uses, is not an input.

Shapes: B users, T items, Q queries, S items with prefix tokens, H heads, E = D / H, G 1 or H, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.baselines.sasrec import SASRec
from heterrec_model.config import Config, ModelConfig
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.dropout import dropout
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.layers.hct import rows_at
from heterrec_model.layers.narrow_lookup import column_lookup
from heterrec_model.model_settings import UNREAD


class HSTU(SASRec):
    """`SASRec` with `item_blocks` HSTU blocks, time gaps and relative positions."""

    unread = UNREAD["hstu"]
    with_time_gaps = True

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__(config, table, tables)
        model = config.model
        # a column per block: the score of two items by the distance of their positions
        weight = torch.randn(model.max_length, model.item_blocks) * model.table_std
        self.position_bias = nn.Parameter(weight)

    def make_blocks(self, model: ModelConfig) -> nn.Module:
        """A stack of HSTU blocks."""
        return HSTUStack(model)

    def biases(self, batch: Batch) -> list[Tensor | None]:
        """The relative attention bias of every block: by position, plus by time."""
        place_T = torch.arange(batch.item_BT.shape[1], device=batch.item_BT.device)
        distance_TT = (place_T[:, None] - place_T).clamp(min=0)
        by_position = column_lookup(distance_TT, self.position_bias)
        by_time = super().biases(batch)
        return [
            p_TT[None, None] if p_BGTT is None else p_BGTT + p_TT
            for p_TT, p_BGTT in zip(by_position, by_time, strict=True)
        ]


class HSTUStack(nn.Module):
    """`item_blocks` HSTU blocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HSTUBlock(config) for _ in range(config.item_blocks))

    def forward(self, x_BSD: Tensor, biases: list[Tensor], last_B: Tensor | None = None) -> Tensor:
        """All blocks: [B, S, D]; with `last_B` the output of these items alone, [B, 1, D]."""
        final = len(self.blocks) - 1
        for layer, (block, bias_BGSS) in enumerate(zip(self.blocks, biases, strict=True)):
            x_BSD = block(x_BSD, bias_BGSS, last_B if layer == final else None)
        return rows_at(x_BSD, last_B) if last_B is not None and final < 0 else x_BSD


class HSTUBlock(nn.Module):
    """Y = f_2(LN(A V) * U), A = SiLU(Q K^T + bias) / n over the n items up to the query, U, V, Q, K = SiLU(f_1(LN(X))).

    The paper divides by the length of the longest history instead of n. LN(A V) removes this factor, but with n the output
    depends neither on padding nor on the maximum length.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout
        self.uq = nn.Linear(width, 2 * width)
        self.vk = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        # AV is small in short histories
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width, eps=1e-6)])

    def forward(self, x_BSD: Tensor, bias_BGSS: Tensor, last_B: Tensor | None = None) -> Tensor:
        """X + Y at all S items, [B, S, D], or at the items `last_B` alone, [B, 1, D]."""
        input_norm, seen_norm = self.norms
        normed_BSD = input_norm(x_BSD)
        query_BQ = torch.arange(x_BSD.shape[1], device=x_BSD.device)[None]
        key_S = query_BQ[0]
        asked_BQD, bias_BGQS = normed_BSD, bias_BGSS
        if last_B is not None:
            query_BQ = last_B[:, None]
            x_BSD, asked_BQD = rows_at(x_BSD, last_B), rows_at(normed_BSD, last_B)
            # shape[0] rather than len(): a traced batch stays of any size
            every_BGSS = bias_BGSS.expand(last_B.shape[0], -1, -1, -1)
            row_BG1S = last_B[:, None, None, None].expand_as(every_BGSS[:, :, :1])
            bias_BGQS = every_BGSS.gather(2, row_BG1S)
        u_BQD, q_BQD = F.silu(self.uq(asked_BQD)).chunk(2, dim=-1)
        v_BSD, k_BSD = F.silu(self.vk(normed_BSD)).chunk(2, dim=-1)
        q_BHQE, v_BHSE, k_BHSE = (self._by_head(x) for x in (q_BQD, v_BSD, k_BSD))
        weights_BHQS = F.silu(q_BHQE @ k_BHSE.transpose(-1, -2) + bias_BGQS)
        last_BQ1 = query_BQ[..., None]
        share_BQS = (key_S <= last_BQ1).to(weights_BHQS.dtype) / (last_BQ1 + 1)
        weights_BHQS = weights_BHQS * share_BQS[:, None]
        weights_BHQS = dropout(weights_BHQS, self.attention_dropout, self.training)
        seen_BQD = (weights_BHQS @ v_BHSE).transpose(1, 2).flatten(2)
        gated_BQD = dropout(u_BQD * seen_norm(seen_BQD), self.dropout, self.training)
        y_BQD: Tensor = self.out(gated_BQD)
        return x_BSD + y_BQD

    def _by_head(self, x_BSD: Tensor) -> Tensor:
        return x_BSD.view(*x_BSD.shape[:2], self.heads, -1).transpose(1, 2)
