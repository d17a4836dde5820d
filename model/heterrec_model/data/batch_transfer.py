"""Transfer of batches from worker processes, as NumPy arrays.

PyTorch would send each tensor through shared memory with its own file descriptor, which for arrays of a few kilobytes
takes several times longer than a copy.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heterrec_model.data.batch import Batch


def pack(batch: Batch) -> dict[str, Any]:
    """The fields of a batch, tensors as arrays."""
    return {field.name: _packed(getattr(batch, field.name)) for field in fields(batch)}


def unpack(packed: dict[str, Any]) -> Batch:
    """The batch from its packed fields."""
    return Batch(**{name: _unpacked(value) for name, value in packed.items()})


def _packed(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {name: _packed(x) for name, x in value.items()}
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {name: _unpacked(x) for name, x in value.items()}
    return value
