"""The Hierarchical Causal Transformer, Section 2.4: token-level blocks, fusion of each item's tokens, item-level blocks.

Shapes: B users, T items, K tokens per item, S = T * K, D width, H heads, E = D / H, G 1 or H, P prefix tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import ModelConfig
from heterrec_model.layers.attention import attention, attention_of_last
from heterrec_model.layers.dropout import dropout


class SelfAttention(nn.Module):
    """Multi-head self-attention, Eq. 4 and 5, with the time-gap bias and the causal mask of Eq. 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x_BSD: Tensor, bias_BGTT: Tensor | None, tokens: int) -> Tensor:
        """Attend over items of `tokens` tokens each: [B, S, D]."""
        config = self.config
        heads = self.qkv(x_BSD).unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
        q_BHSE, k_BHSE, v_BHSE = heads.unbind(0)
        seen_BHSE = attention(
            q_BHSE,
            k_BHSE,
            v_BHSE,
            bias_BGTT,
            tokens=tokens,
            mask=config.token_mask,
            dropout=config.attention_dropout if self.training else 0.0,
            method=config.attention,
        )
        mixed: Tensor = self.out(seen_BHSE.transpose(1, 2).flatten(2))
        return mixed

    def of_last(self, x_BTD: Tensor, bias_BGTT: Tensor | None, last_B: Tensor) -> Tensor:
        """`forward` at the items `last_B` alone, of one token each, without dropout: [B, 1, D]."""
        width, heads = self.config.width, self.config.heads
        weight, bias = self.qkv.weight, self.qkv.bias
        q_B1D: Any = F.linear(rows_at(x_BTD, last_B), weight[:width], bias[:width])
        k_v: Any = F.linear(x_BTD, weight[width:], bias[width:])
        k_BHTE, v_BHTE = k_v.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q_BH1E = q_B1D.unflatten(-1, (heads, -1)).transpose(1, 2)
        seen_BH1E = attention_of_last(q_BH1E, k_BHTE, v_BHTE, bias_BGTT, last_B)
        mixed: Tensor = self.out(seen_BH1E.transpose(1, 2).flatten(2))
        return mixed


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2, Eq. 6."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.width, config.ffn_multiplier * config.width)
        self.outer = nn.Linear(config.ffn_multiplier * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Any leading shape, which is preserved."""
        mixed: Tensor = self.outer(F.relu(self.inner(x)))
        return mixed


class CausalBlock(nn.Module):
    """Causal Transformer Block: LayerNorm(x + Sublayer(x)), Eq. 7, or pre-LN x + Sublayer(LayerNorm(x))."""

    def __init__(self, config: ModelConfig, attention: type[SelfAttention] = SelfAttention) -> None:
        super().__init__()
        self.attention = attention(config)
        self.feed_forward = FeedForward(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))
        self.pre, self.dropout = config.norm == "pre", config.dropout

    def forward(
        self,
        x_BSD: Tensor,
        bias_BGTT: Tensor | None,
        tokens: int,
        last_B: Tensor | None = None,
    ) -> Tensor:
        """Both sublayers: [B, S, D]; with `last_B` at these items alone, of one token each, without dropout: [B, 1, D]."""
        attention_norm, ffn_norm = self.norms
        normed = attention_norm(x_BSD) if self.pre else x_BSD
        if last_B is None:
            mixed = self._drop(self.attention(normed, bias_BGTT, tokens))
        else:
            mixed = self.attention.of_last(normed, bias_BGTT, last_B)
            x_BSD = rows_at(x_BSD, last_B)
        if self.pre:
            x_BSD = x_BSD + mixed
            return x_BSD + self._drop(self.feed_forward(ffn_norm(x_BSD)))
        x_BSD = attention_norm(x_BSD + mixed)
        after: Tensor = ffn_norm(x_BSD + self._drop(self.feed_forward(x_BSD)))
        return after

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class CausalStack(nn.Module):
    """N Causal Transformer Blocks over items of `tokens` tokens each; pre-LN adds a final norm.

    Another class of `attention` replaces the causal one.
    """

    def __init__(
        self,
        config: ModelConfig,
        layers: int,
        tokens: int,
        attention: type[SelfAttention] = SelfAttention,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.blocks = nn.ModuleList(CausalBlock(config, attention) for _ in range(layers))
        last = nn.LayerNorm(config.width) if layers and config.norm == "pre" else nn.Identity()
        self.last_norm: nn.Module = last

    def forward(
        self, x_BSD: Tensor, biases: Sequence[Tensor | None], last_B: Tensor | None = None
    ) -> Tensor:
        """All blocks: [B, S, D]; `biases` holds P of each layer.

        With `last_B`, and one token per item, the output is that of these items alone, [B, 1, D]: nothing reads the others
        after the last block, which does not compute them.
        """
        final = len(self.blocks) - 1
        for layer, (block, bias_BGTT) in enumerate(zip(self.blocks, biases, strict=True)):
            x_BSD = block(x_BSD, bias_BGTT, self.tokens, last_B if layer == final else None)
        if last_B is not None and final < 0:
            x_BSD = rows_at(x_BSD, last_B)
        last: Tensor = self.last_norm(x_BSD)
        return last


class TokenFusion(nn.Module):
    """MLP that fuses the tokens of an item into one vector: K * D -> 2 D -> D.

    With `raw_skip` the output is LN(fuse(H) + LN(raw)), where raw is the sum of the item's embeddings and its position.
    """

    def __init__(self, config: ModelConfig, tokens: int) -> None:
        super().__init__()
        self.inner = nn.Linear(tokens * config.width, 2 * config.width)
        self.outer = nn.Linear(2 * config.width, config.width)
        self.norms: nn.ModuleList | None = None
        if config.raw_skip:
            self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))

    def forward(self, h_BTKD: Tensor, raw_BTD: Tensor) -> Tensor:
        """Fuse the tokens of every item: [B, T, D]."""
        fused_BTD: Tensor = self.outer(F.relu(self.inner(h_BTKD.flatten(2))))
        if self.norms is None:
            return fused_BTD
        raw_norm, sum_norm = self.norms
        summed: Tensor = sum_norm(fused_BTD + raw_norm(raw_BTD))
        return summed


class HCT(nn.Module):
    """Token-level blocks, TokenFusion, then item-level blocks with the user's features as prefix tokens."""

    def __init__(self, config: ModelConfig, tokens: int) -> None:
        super().__init__()
        self.tokens, self.dropout = tokens, config.dropout
        self.token_level = CausalStack(config, config.token_blocks, tokens)
        self.fuse = TokenFusion(config, tokens)
        self.item_level = CausalStack(config, config.item_blocks, 1)

    def forward(
        self,
        h_BSD: Tensor,
        raw_BTD: Tensor,
        prefix_BPD: Tensor | None,
        biases: Sequence[Tensor | None],
        last_B: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run both levels.

        Args:
            h_BSD: H_0, item-major.
            raw_BTD: the raw sums of HTFL.
            prefix_BPD: tokens of the user features, or None.
            biases: P of every layer, token level first.
            last_B: the only items whose user vectors are needed; None: all.

        Returns:
            H_N1 as [B, T, K, D] and the user vectors U as [B, T, D], with `last_B` as [B, 1, D].
        """
        layers = len(self.token_level.blocks)
        h_BSD = self.token_level(h_BSD, biases[:layers])
        h_BTKD = h_BSD.view(h_BSD.shape[0], -1, self.tokens, h_BSD.shape[-1])
        x_BTD = dropout(self.fuse(h_BTKD, raw_BTD), self.dropout, self.training)
        return h_BTKD, after_prefix(self.item_level, x_BTD, prefix_BPD, biases[layers:], last_B)


def after_prefix(
    stack: nn.Module,
    x_BTD: Tensor,
    prefix_BPD: Tensor | None,
    biases: Sequence[Tensor | None],
    last_B: Tensor | None = None,
) -> Tensor:
    """The output of a stack at the items, [B, T, D]: every item attends to the prefix tokens too, without a time gap.

    Args:
        stack: with one token per item; called as a `CausalStack` is.
        x_BTD: the items.
        prefix_BPD: tokens before the first item, or None.
        biases: P of every layer between the items.
        last_B: the only items whose output is needed, which is then [B, 1, D]; None: all.
    """
    if prefix_BPD is None:
        from_items: Tensor = stack(x_BTD, biases, last_B)
        return from_items
    prefix = prefix_BPD.shape[1]
    padded = [None if p is None else F.pad(p, (prefix, 0, prefix, 0)) for p in biases]
    shifted_B = None if last_B is None else last_B + prefix
    joined: Tensor = stack(torch.cat([prefix_BPD, x_BTD], dim=1), padded, shifted_B)
    return joined if last_B is not None else joined[:, prefix:]


def rows_at(x_BTD: Tensor, last_B: Tensor) -> Tensor:
    """One row of every user: [B, 1, D]."""
    return x_BTD.gather(1, last_B[:, None, None].expand(-1, 1, x_BTD.shape[-1]))
