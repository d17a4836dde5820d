"""Transfer of batches from worker processes, as NumPy arrays.

PyTorch would send each tensor through shared memory with its own file descriptor, which for arrays of a few kilobytes
takes several times longer than a copy.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heterrec_model.data.batch import Batch, HistoryItems


def pack(batch: Batch) -> dict[str, Any]:
    """The fields of a batch, tensors as arrays."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    if batch.earlier is not None:
        values["earlier"] = vars(batch.earlier)
    packed: dict[str, Any] = _converted(values, Tensor, Tensor.numpy)
    return packed


def unpack(packed: dict[str, Any]) -> Batch:
    """The batch from its packed fields."""
    values = _converted(packed, np.ndarray, torch.from_numpy)
    if values["earlier"] is not None:
        values["earlier"] = HistoryItems(**values["earlier"])
    return Batch(**values)


def _converted(value: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    """Convert all values of a kind, also inside dicts."""
    if isinstance(value, dict):
        return {name: _converted(x, kind, convert) for name, x in value.items()}
    return convert(value) if isinstance(value, kind) else value
