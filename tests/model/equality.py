"""Equal values and equal gradients, of tensors and of the lists that the equations give."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def same_values(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def named(name: str) -> Callable[[str], str]:
    """Puts a weight's name before what differs."""
    return lambda message: f"{name}: {message}"


def same_gradients(got: Tensor, want: Tensor, weights: Mapping[str, Tensor]) -> None:
    """Two scalars of the same weights have equal values and equal gradients."""
    same_values(got, want)
    names = [n for n, w in weights.items() if w.requires_grad]
    leaves = [weights[n] for n in names]
    # the equations may well say 0 without looking at a weight
    by_both = [got, want + 0 * leaves[0].sum()]
    gradients = [
        torch.autograd.grad(x, leaves, allow_unused=True, materialize_grads=True) for x in by_both
    ]
    for name, a, b in zip(names, *gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=named(name))


def probed(values: Tensor, seed: int = 0) -> Tensor:
    """A scalar that feels every entry."""
    random = torch.Generator().manual_seed(seed)
    return (values * torch.randn(values.shape, generator=random, dtype=values.dtype)).sum()


def stacked(nested: Any) -> Tensor:
    """Vectors in lists of lists as one tensor."""
    if isinstance(nested, Tensor):
        return nested
    return torch.stack([stacked(inner) for inner in nested])
