"""Blocks, stacks, the fusion and both levels of the HCT, against the equations."""

from collections.abc import Sequence
from typing import Any

import equations
import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import QUICK, model_config, scrambled, weights_of
from torch import Tensor

import heterrec_model.layers.attention
from heterrec_model.layers.hct import (
    HCT,
    CausalBlock,
    CausalStack,
    FeedForward,
    SelfAttention,
    TokenFusion,
)

USERS, ITEMS, WIDTH = 2, 3, 4
OPTIONS = {
    "tokens": st.integers(1, 3),
    "heads": st.sampled_from([1, 2]),
    "norm": st.sampled_from(["post", "pre"]),
    "mask": st.sampled_from(["item", "causal"]),
    "bias": st.sampled_from(["none", "shared", "each head"]),
    "seed": st.integers(0, 99),
}


def random_tensor(*shape: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()


def biases(kind: str, layers: int, heads: int, seed: int) -> list[Tensor | None]:
    if kind == "none":
        return [None] * layers
    groups = 1 if kind == "shared" else heads
    return [random_tensor(USERS, groups, ITEMS, ITEMS, seed=seed + n) for n in range(layers)]


def of_user(layers: Sequence[Tensor | None], user: int) -> Any:
    """The layers' P of one user as the equations take it."""
    return None if layers[0] is None else [list(p[user]) for p in layers if p is not None]


def leaves(weights: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
    flat = {
        f"{name}.{n}": part
        for name, parts in more.items()
        for n, part in enumerate(parts if isinstance(parts, list) else [parts])
        if part is not None
    }
    return weights | flat


@QUICK
@given(**OPTIONS)
def test_self_attention(
    tokens: int, heads: int, norm: str, mask: str, bias: str, seed: int
) -> None:
    config = model_config(heads=heads, token_mask=mask)
    layer = scrambled(SelfAttention(config), seed)
    weights = weights_of(layer)
    x = random_tensor(USERS, ITEMS * tokens, WIDTH, seed=seed)
    p = biases(bias, 1, heads, seed)
    got = layer(x, p[0], tokens)
    rows = []
    for b in range(USERS):
        gaps = of_user(p, b)
        own = None if gaps is None else gaps[0]
        rows.append(equations.multi_head(weights, list(x[b]), own, tokens, config))
    same_values(got, stacked(rows))
    same_gradients(probed(got), probed(stacked(rows)), leaves(weights, x=x, p=p))


def test_feed_forward_by_hand() -> None:
    layer = FeedForward(model_config(width=2, heads=1, ffn_multiplier=1))
    with torch.no_grad():
        layer.inner.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        layer.inner.bias.copy_(torch.tensor([1.0, 0.0]))
        layer.outer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.outer.bias.copy_(torch.tensor([10.0, 20.0]))
    # x = (1, 2): inside (4, -1), after the ReLU (4, 0)
    assert layer(torch.tensor([1.0, 2.0])).tolist() == [14.0, 32.0]
    assert FeedForward(model_config(width=4, ffn_multiplier=3)).inner.out_features == 12


@QUICK
@given(**OPTIONS)
def test_a_block(tokens: int, heads: int, norm: str, mask: str, bias: str, seed: int) -> None:
    config = model_config(heads=heads, norm=norm, token_mask=mask)
    block = scrambled(CausalBlock(config), seed)
    weights = weights_of(block)
    x = random_tensor(USERS, ITEMS * tokens, WIDTH, seed=seed)
    p = biases(bias, 1, heads, seed)
    got = block(x, p[0], tokens)
    rows = []
    for b in range(USERS):
        gaps = of_user(p, b)
        own = None if gaps is None else gaps[0]
        rows.append(equations.causal_block(weights, list(x[b]), own, tokens, config))
    same_values(got, stacked(rows))
    same_gradients(probed(got), probed(stacked(rows)), leaves(weights, x=x, p=p))


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_stack_uses_every_layers_own_bias(norm: str, layers: int) -> None:
    config = model_config(norm=norm)
    stack = scrambled(CausalStack(config, layers, 2))
    weights = weights_of(stack)
    assert ("last_norm.weight" in weights) == (norm == "pre" and layers > 0)
    x = random_tensor(USERS, ITEMS * 2, WIDTH, seed=0)
    p = biases("shared", layers, 2, 0)
    rows = [
        equations.stack(weights, list(x[b]), of_user(p, b) if layers else None, 2, config)
        for b in range(USERS)
    ]
    got = stack(x, p)
    same_values(got, stacked(rows))
    same_gradients(probed(got), probed(stacked(rows)), leaves(weights, x=x, p=p))


@QUICK
@given(tokens=st.integers(1, 4), raw_skip=st.booleans(), seed=st.integers(0, 99))
def test_fuse(tokens: int, raw_skip: bool, seed: int) -> None:
    config = model_config(raw_skip=raw_skip)
    fuse = scrambled(TokenFusion(config, tokens), seed)
    weights = weights_of(fuse)
    assert weights["inner.weight"].shape == (2 * WIDTH, tokens * WIDTH)
    assert weights["outer.weight"].shape == (WIDTH, 2 * WIDTH)
    h = random_tensor(USERS, ITEMS, tokens, WIDTH, seed=seed)
    raw = random_tensor(USERS, ITEMS, WIDTH, seed=seed + 1)
    got = fuse(h, raw)
    want = stacked(
        [
            [equations.fuse(weights, list(h[b, t]), raw[b, t], config) for t in range(ITEMS)]
            for b in range(USERS)
        ]
    )
    same_values(got, want)
    same_gradients(probed(got), probed(want), leaves(weights, h=h, raw=raw))


@QUICK
@given(
    **OPTIONS,
    layers=st.sampled_from([(1, 1), (2, 1), (0, 1), (1, 0), (0, 0), (1, 2)]),
    prefix=st.integers(0, 2),
    raw_skip=st.booleans(),
)
def test_both_levels(
    tokens: int,
    heads: int,
    norm: str,
    mask: str,
    bias: str,
    seed: int,
    layers: tuple[int, int],
    prefix: int,
    raw_skip: bool,
) -> None:
    first, second = layers
    config = model_config(
        heads=heads,
        norm=norm,
        token_mask=mask,
        raw_skip=raw_skip,
        token_blocks=first,
        item_blocks=second,
    )
    hct = scrambled(HCT(config, tokens), seed)
    weights = weights_of(hct)
    h = random_tensor(USERS, ITEMS, tokens, WIDTH, seed=seed)
    raw = random_tensor(USERS, ITEMS, WIDTH, seed=seed + 1)
    own = random_tensor(USERS, prefix, WIDTH, seed=seed + 2) if prefix else None
    p = biases(bias, first + second, heads, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heterrec_model.layers.attention, "CHUNK_TOKENS", 2)
        got_h, got_u = hct(h.flatten(1, 2), raw, own, p)
    pairs = [
        equations.hierarchical(
            weights,
            [list(item) for item in h[b]],
            list(raw[b]),
            [] if own is None else list(own[b]),
            of_user(p, b) if p else None,
            config,
        )
        for b in range(USERS)
    ]
    want_h = stacked([seen for seen, _ in pairs])
    want_u = stacked([users for _, users in pairs])
    same_values(got_h, want_h)
    same_values(got_u, want_u)
    same_gradients(
        probed(got_h) + probed(got_u, 1),
        probed(want_h) + probed(want_u, 1),
        leaves(weights, h=h, raw=raw, own=own, p=p),
    )


@pytest.mark.parametrize("mask", ["item", "causal"])
def test_no_gradient_flows_from_an_output_to_later_items(mask: str) -> None:
    hct = scrambled(HCT(model_config(token_mask=mask, token_blocks=2, item_blocks=2), 2))
    h = random_tensor(1, ITEMS, 2, WIDTH, seed=0)
    raw = random_tensor(1, ITEMS, WIDTH, seed=1)
    for t in range(ITEMS):
        got_h, got_u = hct(h.flatten(1, 2), raw, None, [None] * 4)
        for out in (got_h[0, t], got_u[0, t]):
            of_h, of_raw = torch.autograd.grad(
                out.square().sum(), [h, raw], retain_graph=True, materialize_grads=True
            )
            assert of_h[0, t + 1 :].abs().sum() == 0
            assert of_raw[0, t + 1 :].abs().sum() == 0
            assert (of_h[0, : t + 1].abs().sum((1, 2)) > 0).all()


def test_in_an_item_tokens_see_each_other_by_item_but_not_later_ones_by_token() -> None:
    for mask, seen in (("item", True), ("causal", False)):
        stack = scrambled(CausalStack(model_config(token_mask=mask), 1, 2))
        x = random_tensor(1, 4, WIDTH, seed=0)
        (of_x,) = torch.autograd.grad(stack(x, [None])[0, 2].square().sum(), x)
        assert bool(of_x[0, 3].abs().sum() > 0) == seen


def test_dropout_is_for_training_only() -> None:
    hct = scrambled(HCT(model_config(dropout=0.4), 2))
    h, raw = random_tensor(1, 6, WIDTH, seed=0), random_tensor(1, 3, WIDTH, seed=1)
    hct.eval()
    same_values(hct(h, raw, None, [None, None])[1], hct(h, raw, None, [None, None])[1])
    hct.train()
    twice = [hct(h, raw, None, [None, None])[1] for _ in range(2)]
    assert not torch.allclose(*twice)
