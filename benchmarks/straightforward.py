"""A straightforward implementation of HeterRec from the paper, to which `model_step.py` compares the package.

It uses the weights of a `HeterRec` and computes the same loss as a careful first implementation would: it looks up, fuses and
scores every position of the padded batch; attention is dense, with a mask and a time-gap bias of the size of the scores;
losses are computed at all positions and masked afterwards.

Shapes: B users, T items, K tokens per item, S = T * K tokens, H heads, E = D / H, D width, C candidates.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.heterrec import HeterRec
from heterrec_model.layers.hct import CausalBlock, CausalStack
from heterrec_model.loss.candidates import Candidates
from heterrec_model.loss.lmp import MultiStepLoss


class Straightforward(nn.Module):
    """The loss of a `HeterRec` with its weights and settings.

    Raises:
        ValueError: a part or a setting of the model is not implemented here.
    """

    def __init__(self, model: HeterRec) -> None:
        super().__init__()
        _check(model)
        self.model, self.config = model, model.config

    def forward(self, batch: Batch, seed: int) -> Tensor:
        """The training loss of a batch, with the candidates that the model draws for the same seed."""
        model, config = self.model, self.config
        valid_BT = batch.valid_BT()
        user_BT = torch.arange(batch.users)[:, None].expand_as(valid_BT)
        candidates = model.sampler.draw(batch.item_BT[valid_BT], user_BT[valid_BT], seed)
        e_BTKD = model.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape)
        v_NKD, v_ND = model.tower(e_BTKD.flatten(0, 1))
        v_CKD, v_CD = model.tower(model.tables(candidates.item_C))
        h_BTKD, u_BTD = self.encode(e_BTKD, batch)
        v_BTKD, v_BTD = v_NKD.view_as(e_BTKD), v_ND.view_as(u_BTD)
        item_C = candidates.item_C
        total = self.level(
            model.item_lmp, u_BTD, v_BTD, v_CD, batch.item_BT, item_C, candidates, batch
        )
        if not config.loss.token_weight:
            return total
        rows = model.sampler.token_rows(candidates)
        fewer = model.sampler.part(candidates, rows)
        tokens = model.tables.tokens
        weight = 1.0 if config.loss.token_weight == "sum" else config.loss.token_weight / tokens
        for s, lmp in enumerate(model.token_lmp.values()):
            assert isinstance(lmp, MultiStepLoss)
            value_BT, value_C = self.values(s, batch.item_BT), self.values(s, fewer.item_C)
            h_BTD, v_BTD, v_CD = h_BTKD[:, :, s], v_BTKD[:, :, s], v_CKD[rows, s]
            total = total + weight * self.level(
                lmp, h_BTD, v_BTD, v_CD, value_BT, value_C, fewer, batch
            )
        return total

    def values(self, token: int, item: Tensor) -> Tensor:
        """Numbers that are equal if two items have the same value of a token."""
        if self.config.model.item_id:
            if token == 0:
                return item
            token -= 1
        return self.model.table.value_IK[item, token]

    def encode(self, e_BTKD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """HTFL and HCT: H_N1 as [B, T, K, D] and U as [B, T, D]."""
        htfl, hct = self.model.htfl, self.model.hct
        assert htfl.positions is not None
        assert htfl.types is not None
        assert hct.fuse.norms is not None
        tokens = e_BTKD.shape[2]
        position_TD = htfl.positions[: e_BTKD.shape[1]]
        raw_BTD = e_BTKD.sum(2) + position_TD
        x_BTKD = htfl.norm(e_BTKD + position_TD[None, :, None] + htfl.types)
        h_BSD = self.drop(x_BTKD.flatten(1, 2))
        h_BSD = self.stack(hct.token_level, h_BSD, batch, tokens, first_layer=0)
        h_BTKD = h_BSD.view_as(e_BTKD)
        fused_BTD = hct.fuse.outer(F.relu(hct.fuse.inner(h_BTKD.flatten(2))))
        raw_norm, sum_norm = hct.fuse.norms
        x_BTD = self.drop(sum_norm(fused_BTD + raw_norm(raw_BTD)))
        u_BTD = self.stack(hct.item_level, x_BTD, batch, 1, len(hct.token_level.blocks))
        return h_BTKD, u_BTD

    def stack(
        self, stack: CausalStack, x_BSD: Tensor, batch: Batch, tokens: int, first_layer: int
    ) -> Tensor:
        """The blocks of a level, with a mask and time gaps for every pair of tokens."""
        item_S = torch.arange(batch.item_BT.shape[1]).repeat_interleave(tokens)
        time_BS = batch.timestamp_BT.repeat_interleave(tokens, dim=1)
        valid_BS = batch.valid_BT().repeat_interleave(tokens, dim=1)
        hidden_SS = item_S[:, None] < item_S[None, :]
        hidden_BSS = hidden_SS | ~valid_BS[:, None, :]
        time_gap = self.model.time_gap
        assert time_gap is not None
        bucket_BSS = time_gap.buckets(time_BS)
        for n, block in enumerate(stack.blocks, first_layer):
            assert isinstance(block, CausalBlock)
            bias_BSS = F.embedding(bucket_BSS, time_gap.table[:, n, None]).squeeze(-1)
            x_BSD = self.block(block, x_BSD, bias_BSS, hidden_BSS)
        return x_BSD

    def block(
        self, block: CausalBlock, x_BSD: Tensor, bias_BSS: Tensor, hidden_BSS: Tensor
    ) -> Tensor:
        """Eq. 1 and 4 to 7."""
        norm_1, norm_2 = block.norms
        q_BHSE, k_BHSE, v_BHSE = (
            part.unflatten(-1, (self.config.model.heads, -1)).transpose(1, 2)
            for part in block.attention.qkv(x_BSD).chunk(3, dim=-1)
        )
        scores_BHSS = q_BHSE @ k_BHSE.transpose(-1, -2) + bias_BSS[:, None]
        scores_BHSS = scores_BHSS / math.sqrt(q_BHSE.shape[-1])
        scores_BHSS = scores_BHSS.masked_fill(hidden_BSS[:, None], -math.inf)
        seen_BHSE = torch.softmax(scores_BHSS, dim=-1) @ v_BHSE
        mixed_BSD = block.attention.out(seen_BHSE.transpose(1, 2).flatten(2))
        x_BSD = norm_1(x_BSD + self.drop(mixed_BSD))
        ffn = block.feed_forward
        after: Tensor = norm_2(x_BSD + self.drop(ffn.outer(F.relu(ffn.inner(x_BSD)))))
        return after

    def level(
        self,
        lmp: MultiStepLoss,
        u_BTD: Tensor,
        v_BTD: Tensor,
        v_CD: Tensor,
        value_BT: Tensor,
        value_C: Tensor,
        candidates: Candidates,
        batch: Batch,
    ) -> Tensor:
        """Eq. 8 to 11 of one level at every position; positions without a target are masked."""
        loss = self.config.loss
        time_T = torch.arange(u_BTD.shape[1])
        v_BTD, v_CD = F.normalize(v_BTD, dim=-1), F.normalize(v_CD, dim=-1)
        total, before_BT = u_BTD.new_zeros(()), None
        for i, weight in enumerate(loss.weights, 1):
            q_BTD = F.normalize(lmp.steps[i - 1](u_BTD), dim=-1) / loss.temperature
            positive_BT = (q_BTD * v_BTD.roll(-i, dims=1)).sum(-1)
            negative_BTC = q_BTD @ v_CD.T - candidates.log_q_C.to(q_BTD.dtype)
            same_BTC = value_BT.roll(-i, dims=1)[:, :, None] == value_C
            negative_BTC = negative_BTC.masked_fill(same_BTC, -math.inf)
            open_BT = time_T + i < batch.length_B[:, None]
            if batch.first_target_B is not None:
                open_BT = open_BT & (time_T + i >= batch.first_target_B[:, None])
            possible = open_BT.sum().clamp(min=1)
            if before_BT is not None and loss.gate:
                margin = positive_BT.new_tensor(loss.margin).log()
                open_BT = open_BT & (before_BT > torch.logaddexp(positive_BT.detach(), margin))
            before_BT = positive_BT.detach()
            below = [positive_BT[:, :, None], torch.zeros_like(positive_BT)[:, :, None]]
            loss_BT = torch.logsumexp(torch.cat([*below, negative_BTC], dim=-1), -1) - positive_BT
            total = total + weight * (loss_BT * open_BT).sum() / possible
        return total

    def drop(self, x: Tensor) -> Tensor:
        """PyTorch's dropout."""
        return F.dropout(x, self.config.model.dropout, self.training)


def padded(batch: Batch, length: int) -> Batch:
    """Pad the histories of a batch to one length, as the loader does."""
    index_BT = torch.minimum(torch.arange(length), batch.length_B[:, None] - 1)
    real_BT = torch.arange(length) < batch.length_B[:, None]
    return Batch(
        item_BT=batch.item_BT.gather(1, index_BT) * real_BT,
        timestamp_BT=batch.timestamp_BT.gather(1, index_BT),
        length_B=batch.length_B,
        behaviour_BT=None,
        user_features={},
        user_ids=batch.user_ids,
        first_target_B=batch.first_target_B,
    )


def _check(model: HeterRec) -> None:
    """Check that all parts and settings of the model are implemented here."""
    config: Config = model.config
    m, n = config.model, config.negatives
    missing: Sequence[tuple[str, bool]] = (
        ("user features", bool(model.user_tokens.names)),
        ("behaviours", model.htfl.behaviour is not None),
        ("literal", m.literal),
        ("pre-LN", m.norm == "pre"),
        ("token_mask: causal", m.token_mask == "causal"),
        ("raw_skip: false", not m.raw_skip),
        ("attention dropout", bool(m.attention_dropout)),
        ("no time gap, or one per head", not m.time_gap.enabled or m.time_gap.per_head),
        ("similarity: dot", config.loss.similarity != "cosine"),
        ("negatives of one position", n.source == "in_batch_same_position"),
        ("normalise: open, sum", config.loss.normalise != "possible"),
        ("mask_same_user, gather", n.mask_same_user or n.gather),
    )
    used = [name for name, is_used in missing if is_used]
    if used:
        raise ValueError(f"not in the straightforward implementation: {', '.join(used)}")
