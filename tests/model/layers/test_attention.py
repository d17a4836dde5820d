"""Attention in its three ways, against the equations."""

from typing import Any, Literal

import equations
import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import FEW, MANY
from torch import Tensor

import heterrec_model.layers.attention
from heterrec_model.layers.attention import attention

UNFUSED = "ignore:flex_attention called without torch.compile"
SHAPES = {
    "users": st.integers(1, 2),
    "heads": st.integers(1, 2),
    "items": st.integers(1, 5),
    "tokens": st.integers(1, 3),
    "each": st.integers(1, 3),
    "groups": st.sampled_from(["none", "shared", "each head"]),
    "mask": st.sampled_from(["item", "causal"]),
    "seed": st.integers(0, 99),
}
Mask = Literal["item", "causal"]


def inputs(
    users: int, heads: int, items: int, tokens: int, each: int, groups: str, seed: int
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> Tensor:
        values = 2 * torch.randn(shape, generator=random, dtype=torch.float64)
        return values.requires_grad_()

    found = {name: made(users, heads, items * tokens, each) for name in ("q", "k", "v")}
    if groups != "none":
        found["bias"] = made(users, 1 if groups == "shared" else heads, items, items)
    return found


def by_equations(x: dict[str, Tensor], tokens: int, mask: str) -> Tensor:
    users, heads = x["q"].shape[:2]
    bias = x.get("bias")

    def head(b: int, h: int) -> list[Tensor]:
        q, k, v = (list(x[name][b, h]) for name in ("q", "k", "v"))
        p: Any = None if bias is None else bias[b, h if bias.shape[1] > 1 else 0]
        return equations.attend(q, k, v, p, tokens, mask)

    return stacked([[head(b, h) for h in range(heads)] for b in range(users)])


@MANY
@given(**SHAPES, method=st.sampled_from(["auto", "dense", "chunked"]), chunk=st.integers(1, 9))
def test_values_and_gradients_are_those_of_the_equations(
    users: int,
    heads: int,
    items: int,
    tokens: int,
    each: int,
    groups: str,
    mask: Mask,
    seed: int,
    method: Literal["auto", "dense", "chunked"],
    chunk: int,
) -> None:
    x = inputs(users, heads, items, tokens, each, groups, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heterrec_model.layers.attention, "CHUNK_TOKENS", chunk)
        got = attention(
            x["q"], x["k"], x["v"], x.get("bias"), tokens=tokens, mask=mask, method=method
        )
    want = by_equations(x, tokens, mask)
    same_values(got, want)
    same_gradients(probed(got), probed(want), x)


@pytest.mark.filterwarnings(UNFUSED)
@FEW
@given(**SHAPES)
def test_flex_has_the_values_of_the_equations(
    users: int,
    heads: int,
    items: int,
    tokens: int,
    each: int,
    groups: str,
    mask: Mask,
    seed: int,
) -> None:
    # on a CPU it has no gradients; those are for the test on a GPU
    made = inputs(users, heads, items, tokens, each, groups, seed)
    x = {name: values.detach() for name, values in made.items()}
    got = attention(x["q"], x["k"], x["v"], x.get("bias"), tokens=tokens, mask=mask, method="flex")
    same_values(got, by_equations(x, tokens, mask))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("mask", ["item", "causal"])
@pytest.mark.parametrize("groups", ["none", "shared", "each head"])
@pytest.mark.parametrize(("items", "tokens"), [(1, 1), (7, 3), (60, 6), (200, 1)])
def test_flex_on_a_gpu_has_values_and_gradients_of_the_dense_way(
    items: int, tokens: int, groups: str, mask: Mask
) -> None:
    x = inputs(2, 2, items, tokens, 16, groups, 0)
    want = attention(
        x["q"], x["k"], x["v"], x.get("bias"), tokens=tokens, mask=mask, method="dense"
    )
    on_gpu = {n: v.detach().float().cuda().requires_grad_() for n, v in x.items()}
    got = attention(
        on_gpu["q"],
        on_gpu["k"],
        on_gpu["v"],
        on_gpu.get("bias"),
        tokens=tokens,
        mask=mask,
        method="flex",
    )
    torch.testing.assert_close(got.cpu().double(), want, rtol=1e-2, atol=1e-2)
    weight = torch.randn_like(want)
    (want * weight).sum().backward()
    (got * weight.float().cuda()).sum().backward()
    for name, leaf in x.items():
        found = on_gpu[name].grad
        assert found is not None
        assert leaf.grad is not None
        scale = float(leaf.grad.abs().max())
        torch.testing.assert_close(
            found.cpu().double() / scale, leaf.grad / scale, rtol=1e-2, atol=1e-2
        )


def test_the_item_mask_shows_the_own_item_and_the_causal_mask_does_not() -> None:
    # with equal scores an output is the mean of the values that are seen
    q = k = torch.zeros(1, 1, 4, 1)
    v = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 1, 4, 1)
    by_item = attention(q, k, v, None, tokens=2, mask="item")
    by_token = attention(q, k, v, None, tokens=2, mask="causal")
    assert by_item.flatten().tolist() == [2.0, 2.0, 4.0, 4.0]
    assert by_token.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_the_bias_is_divided_as_the_products_are() -> None:
    # d_k = 4 and a bias of 2 ln 3: e^(2 ln 3 / 2) = 3 parts against 1
    q = k = torch.zeros(1, 1, 2, 4, dtype=torch.float64)
    v = torch.tensor([4.0, 0.0]).view(1, 1, 2, 1).double().expand(1, 1, 2, 4)
    bias = torch.tensor([[0.0, 0.0], [2 * torch.tensor(3.0).log(), 0.0]]).double()[None, None]
    assert attention(q, k, v, bias, tokens=1)[0, 0, 1, 0] == pytest.approx(3.0)


@pytest.mark.parametrize("method", ["dense", "chunked"])
def test_dropout_takes_weights_away_and_keeps_the_mean(method: Literal["dense", "chunked"]) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 6, 2), torch.randn(1, 1, 6, 2)
    v = torch.ones(1, 1, 6, 2)

    def run(dropout: float) -> Tensor:
        return attention(q, k, v, None, tokens=2, dropout=dropout, method=method)

    assert torch.allclose(run(0.0), v)
    draws = torch.stack([run(0.5) for _ in range(4000)])
    assert float(draws.std(0).min()) > 0.1
    assert float((draws.mean(0) - v).abs().max()) < 0.08
