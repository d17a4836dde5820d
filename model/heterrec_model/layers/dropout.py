"""Dropout that is cheap on CPUs, where PyTorch's own draws one slow random number an element."""

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 256


def dropout(x: Tensor, share: float, training: bool = True) -> Tensor:
    """Zero a share of the elements at random and scale the others up, so that the expectation stays.

    On a CPU a random byte decides about an element, eight of them from one draw: some seven times faster than
    `torch.nn.functional.dropout`. The share is therefore rounded to a multiple of 1 / 256.

    Args:
        x: any shape, contiguous or not.
        share: in [0, 1).
        training: False gives x.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    dropped = min(round(share * LEVELS), LEVELS - 1)
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * (kept * (LEVELS / (LEVELS - dropped))).to(x.dtype)
