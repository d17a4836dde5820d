"""The few things that ranks tell each other while they train. With one process every function is the identity."""

import torch
import torch.distributed as dist
from torch import Tensor

from heterrec_schemas.errors import CallError


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of every rank's tensor of one shape; carries no gradient."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def gather_rows(x_ND: Tensor) -> Tensor:
    """Every rank's rows, in the order of the ranks: [N_0 + N_1 + ..., *]; carries no gradient.

    Ranks may hold different numbers of rows.
    """
    if world_size() == 1:
        return x_ND.detach()
    counts = _counts(len(x_ND), x_ND.device)
    padded = x_ND.new_zeros((max(counts), *x_ND.shape[1:]))
    padded[: len(x_ND)] = x_ND.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _counts(rows: int, device: torch.device) -> list[int]:
    """The number of rows on each rank."""
    own = torch.tensor([rows], device=device)
    counts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(counts, own)
    return [int(count) for count in counts]


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The device that `train.device` means.

    Raises:
        CallError: there is no such device.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if cuda else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CallError("train.device", got=repr(name), expected="auto, cpu or cuda") from None
    if device.type == "cuda":
        if not cuda:
            raise CallError(f"train.device: {name}", got="a machine without a CUDA GPU")
        if device.index is None:
            device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    return device
