"""The tensors of a model by name, for checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from heterrec_schemas.errors import CorruptCheckpointError

TRAINED = "tables.trained_I"
"""Name of the tensor that says which items count as trained. Checkpoints of earlier versions lack it: it then follows from
the generation."""
_SHOWN = 3
"""Maximum number of tensors in a message."""


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; a shared tensor is listed under its first name."""
    named: dict[str, Tensor] = dict(model.named_parameters())
    persistent = model.state_dict(keep_vars=True)
    seen = {id(tensor) for tensor in named.values()}
    for name, buffer in model.named_buffers():
        if name in persistent and id(buffer) not in seen:
            named[name] = buffer
    return named


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors from `weights_of` into a model; `where` names their source in messages.

    Raises:
        CorruptCheckpointError: names or shapes differ from those of the model.
    """
    named = weights_of(model)
    if TRAINED not in weights:
        named.pop(TRAINED, None)
    wrong = [f"{name} is absent" for name in named if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in named]
    wrong += [
        f"{name}: got {list(weights[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in named.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CorruptCheckpointError(
            f"the weights of {where} do not fit the model: {'; '.join(wrong[:_SHOWN])}{more}",
            todo="They are from another release of heterrec, or config.yaml was changed.",
        )
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(weights[name])
