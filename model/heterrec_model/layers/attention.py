"""Causal attention over items of K tokens, Eq. 1 to 3, with one bias per pair of items.

Shapes: B users, H heads, S = T * K tokens (item-major), T items, K tokens per item, E = D / H, G 1 or H.

Three methods with equal results:
    dense    S x S scores: the reference
    chunked  chunks of queries, each with the keys up to its end: half the products, for CPUs
    flex     PyTorch's FlexAttention with a block mask, for GPUs
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from heterrec_model.layers.dropout import dropout as drop
from heterrec_schemas.errors import CallError

Mask = Literal["item", "causal"]
CHUNK_TOKENS = 96
"""Number of queries per chunk: fewer skip more future keys, more make larger matrix products."""


def attention(
    q_BHSE: Tensor,
    k_BHSE: Tensor,
    v_BHSE: Tensor,
    bias_BGTT: Tensor | None,
    *,
    tokens: int,
    mask: Mask = "item",
    dropout: float = 0.0,
    method: Literal["auto", "chunked", "dense", "flex"] = "auto",
) -> Tensor:
    """softmax((Q K^T + P) / sqrt(d_k) + M) V, [B, H, S, E].

    Args:
        q_BHSE: queries.
        k_BHSE: keys.
        v_BHSE: values.
        bias_BGTT: P per pair of items, or None.
        tokens: K.
        mask: with `item`, a token attends to all tokens of its own and of earlier items; `causal` is Eq. 3.
        dropout: share of attention weights that are dropped.
        method: `auto` is flex on CUDA without dropout, and chunked otherwise.

    Raises:
        CallError: flex is asked for gradients on a CPU.
    """
    if method == "auto":
        method = "flex" if q_BHSE.is_cuda and not dropout else "chunked"
    if method == "flex":
        if not q_BHSE.is_cuda and q_BHSE.requires_grad and torch.is_grad_enabled():
            raise CallError(
                "model.attention: flex cannot train on a CPU", todo="Set it to auto or chunked."
            )
        return _flex(q_BHSE, k_BHSE, v_BHSE, bias_BGTT, tokens, mask)
    items = q_BHSE.shape[2] // tokens
    chunk = items if method == "dense" else max(1, CHUNK_TOKENS // tokens)
    scale = 1.0 / math.sqrt(q_BHSE.shape[-1])
    q_BHSE = q_BHSE * scale
    future_TT = _future(items, q_BHSE.device)
    if bias_BGTT is None:
        masked_BGTT = torch.zeros_like(future_TT, dtype=q_BHSE.dtype)
        masked_BGTT = masked_BGTT.masked_fill(future_TT, -math.inf)[None, None]
    else:
        masked_BGTT = (bias_BGTT * scale).masked_fill(future_TT, -math.inf)
    # repeated for every key; the K queries of an item share a row
    masked_BGTS = masked_BGTT.unsqueeze(-1).expand(-1, -1, -1, -1, tokens).flatten(3)
    if chunk >= items:
        return _rows(q_BHSE, k_BHSE, v_BHSE, masked_BGTS, tokens, mask, dropout)
    # split and concatenated: the gradient of each slice would be a full tensor of zeros
    rows = chunk * tokens
    q_parts, k_parts, v_parts = (torch.split(x, rows, 2) for x in (q_BHSE, k_BHSE, v_BHSE))
    bias_parts = torch.split(masked_BGTS, chunk, 2)
    parts = []
    for n, (q, bias) in enumerate(zip(q_parts, bias_parts, strict=True), 1):
        k, v = torch.cat(k_parts[:n], 2), torch.cat(v_parts[:n], 2)
        parts.append(_rows(q, k, v, bias[..., : k.shape[2]], tokens, mask, dropout))
    return torch.cat(parts, 2)


def attention_of_last(
    q_BH1E: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, bias_BGTT: Tensor | None, last_B: Tensor
) -> Tensor:
    """`attention` of one query per user, whose item has one token, over the keys up to it: [B, H, 1, E].

    Args:
        q_BH1E: queries.
        k_BHTE: keys.
        v_BHTE: values.
        bias_BGTT: P per pair of items, or None.
        last_B: position of each query among the keys, int64.
    """
    scale = 1.0 / math.sqrt(q_BH1E.shape[-1])
    scores_BH1T = (q_BH1E * scale) @ k_BHTE.transpose(-1, -2)
    if bias_BGTT is not None:
        row_BG1T = last_B[:, None, None, None].expand(-1, bias_BGTT.shape[1], 1, bias_BGTT.shape[3])
        scores_BH1T = scores_BH1T + bias_BGTT.gather(2, row_BG1T) * scale
    keys_T = torch.arange(k_BHTE.shape[2], device=last_B.device)
    future_BT = keys_T[None, :] > last_B[:, None]
    scores_BH1T = scores_BH1T.masked_fill(future_BT[:, None, None, :], -math.inf)
    return torch.softmax(scores_BH1T, dim=-1) @ v_BHTE


def _rows(
    q_BHQE: Tensor,
    k_BHKE: Tensor,
    v_BHKE: Tensor,
    masked_BGTK: Tensor,
    tokens: int,
    mask: Mask,
    dropout: float,
) -> Tensor:
    """Attention of Q consecutive queries over the K keys up to the last of them."""
    scores_BHQK = q_BHQE @ k_BHKE.transpose(-1, -2)
    # a separate expand to all heads: the gradient then sums one dimension at a time, several times faster
    # (shape[0] rather than len(): a traced batch stays of any size)
    bias_BHTK = masked_BGTK.expand(q_BHQE.shape[0], q_BHQE.shape[1], -1, -1)
    by_item = scores_BHQK.view(*bias_BHTK.shape[:3], tokens, -1)
    scores_BHQK = (by_item + bias_BHTK.unsqueeze(3)).view_as(scores_BHQK)
    if mask == "causal" and tokens > 1:
        queries, keys = scores_BHQK.shape[-2:]
        future = torch.ones(queries, keys, dtype=torch.bool, device=scores_BHQK.device)
        scores_BHQK = scores_BHQK.masked_fill(future.triu(1 + keys - queries), -math.inf)
    weights_BHQK = torch.softmax(scores_BHQK, dim=-1)
    if dropout:
        weights_BHQK = drop(weights_BHQK, dropout)
    return weights_BHQK @ v_BHKE


def _future(items: int, device: torch.device) -> Tensor:
    """True if the key's item follows the query's: [T, T]."""
    return torch.ones(items, items, dtype=torch.bool, device=device).triu(1)


def _flex(
    q_BHSE: Tensor,
    k_BHSE: Tensor,
    v_BHSE: Tensor,
    bias_BGTT: Tensor | None,
    tokens: int,
    mask: Mask,
) -> Tensor:
    """FlexAttention: skips blocks of future keys; the kernel reads the bias at T x T."""
    from torch.nn.attention.flex_attention import flex_attention

    scale = 1.0 / math.sqrt(q_BHSE.shape[-1])
    score_mod: Callable[..., Tensor] | None = None
    if bias_BGTT is not None:
        shared = bias_BGTT.shape[1] == 1
        bias = bias_BGTT * scale

        def score_mod(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            group = h * 0 if shared else h
            return score + bias[b, group, q // tokens, k // tokens]

    block_mask = _block_mask(q_BHSE.shape[2], tokens, mask, str(q_BHSE.device))
    attend: Any = _compiled_flex() if q_BHSE.is_cuda else flex_attention
    out: Tensor = attend(
        q_BHSE, k_BHSE, v_BHSE, score_mod=score_mod, block_mask=block_mask, scale=scale
    )
    return out


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=True)
    return compiled


@lru_cache(maxsize=64)
def _block_mask(length: int, tokens: int, mask: Mask, device: str) -> object:
    """Block mask of item(q) >= item(k), or of Eq. 3; cached per length."""
    from torch.nn.attention.flex_attention import create_block_mask

    def by_item(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return q // tokens >= k // tokens

    def by_token(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return q >= k

    chosen = by_item if mask == "item" else by_token
    return create_block_mask(chosen, None, None, length, length, device=device)
