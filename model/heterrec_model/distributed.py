"""Communication between ranks in the forward pass. With one process every function is the identity."""

import torch
import torch.distributed as dist
from torch import Tensor

from heterrec_schemas.errors import CallError


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum of the tensors of all ranks, which have equal shapes; without a gradient."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def gather_rows(x_ND: Tensor) -> Tensor:
    """Rows of all ranks, in rank order: [N_0 + N_1 + ..., *]; N may differ by rank. Without a gradient."""
    if world_size() == 1:
        return x_ND.detach()
    own = torch.tensor([len(x_ND)], device=x_ND.device)
    sizes = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    counts = [int(size) for size in sizes]
    padded = x_ND.new_zeros((max(counts), *x_ND.shape[1:]))
    padded[: len(x_ND)] = x_ND.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a `train.device` setting.

    Raises:
        CallError: the device is unknown or absent.
    """
    counts = {"cpu": 1, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    counts["mps"] = int(torch.backends.mps.is_available())
    if name == "auto":
        name = "cuda" if counts["cuda"] else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = torch.device("meta")
    if device.type not in counts:
        known = ", ".join(["auto", *(kind for kind, count in counts.items() if count)])
        raise CallError("train.device", got=repr(name), expected=known)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    count = counts[device.type]
    if (device.index or 0) >= count:
        what = "CUDA GPU" if device.type == "cuda" else f"{device.type} device"
        has = f"a machine with {count} of them" if count else f"a machine without a {what}"
        raise CallError(f"train.device: {device}", got=has)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
