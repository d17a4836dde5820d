"""AdamW for dense gradients and SparseAdam for sparse ones, as one; their state as named tensors and JSON.

The state is not pickled: tensors go into a safetensors file under `<optimiser>/<parameter>/<name>`, other values into JSON
under the same name.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer, SparseAdam

from heterrec_model.config import TrainConfig
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CorruptCheckpointError

_RATE = "rate_factor"
"""Key of a parameter group: its factor of the learning rate."""
_TODO = "It is from another release of heterrec, or damaged."


class Optimizers:
    """The optimisers of a model; each parameter belongs to exactly one.

    Attributes:
        parts: `adamw`, and `sparse_adam` if the model has sparse parameters.
    """

    def __init__(self, model: TwoTowerModel, train: TrainConfig) -> None:
        self._train = train
        self._names = {p: name for name, p in model.named_parameters() if p.requires_grad}
        sparse = set(model.sparse_parameters())
        dense = {p: name for p, name in self._names.items() if p not in sparse}
        rate, betas = train.learning_rate, train.betas
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for parameter, name in dense.items():
            decay = 0.0 if model.no_decay(name) else train.weight_decay
            groups.setdefault((model.rate_factor(name), decay), []).append(parameter)
        self.parts: dict[str, Optimizer] = {
            "adamw": AdamW(
                [
                    {"params": parameters, _RATE: factor, "weight_decay": decay}
                    for (factor, decay), parameters in groups.items()
                ],
                lr=rate,
                betas=betas,
                fused=True,
            )
        }
        if sparse:
            chosen = [p for p in self._names if p in sparse]
            self.parts["sparse_adam"] = SparseAdam(chosen, lr=rate, betas=betas)

    def clip(self) -> Tensor:
        """Scale all gradients down to a norm of `train.clip_norm`; returns the norm before, a scalar."""
        gradients = []
        for parameter in self._names:
            if parameter.grad is not None:
                if parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.coalesce()
                    gradients.append(parameter.grad.values())
                else:
                    gradients.append(parameter.grad)
        norm = nn.utils.get_total_norm(gradients)
        if self._train.clip_norm > 0 and gradients:
            # The factor stays on the device; it is 1 for gradients within the limit.
            torch._foreach_mul_(gradients, (self._train.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def bad_gradients(self) -> list[str]:
        """Names of the parameters whose gradient is not finite."""
        return [
            name
            for parameter, name in self._names.items()
            if parameter.grad is not None and not _finite(parameter.grad)
        ]

    def step(self, factor: float) -> None:
        """Update the parameters with the learning rate times `factor`, and drop the gradients."""
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = self._train.learning_rate * factor * group.get(_RATE, 1.0)
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state of the optimisers by name: tensors, and plain values."""
        entries = {
            f"{part_name}/{name}/{key}": value
            for part_name, part in self.parts.items()
            for parameter, name in self._names.items()
            for key, value in part.state.get(parameter, {}).items()
        }
        tensors = {n: value.detach() for n, value in entries.items() if isinstance(value, Tensor)}
        return tensors, {n: value for n, value in entries.items() if n not in tensors}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            CorruptCheckpointError: the state names an unknown parameter or optimiser, or a tensor has another shape.
        """
        parameters = {name: p for p, name in self._names.items()}
        for part in self.parts.values():
            part.state.clear()
        for name, value in (*tensors.items(), *values.items()):
            part_name, _, rest = name.partition("/")
            parameter_name, _, key = rest.rpartition("/")
            parameter = parameters.get(parameter_name)
            scalar = not isinstance(value, Tensor) or value.dim() == 0
            if parameter is None or part_name not in self.parts:
                raise CorruptCheckpointError(
                    f"the optimiser state {name!r} does not fit the model", todo=_TODO
                )
            if not scalar and value.shape != parameter.shape:
                raise CorruptCheckpointError(
                    f"the optimiser state {name!r} does not fit the model",
                    got=list(value.shape),
                    expected=list(parameter.shape),
                    todo=_TODO,
                )
            if isinstance(value, Tensor):
                value = value.to(parameter.device, copy=True)  # it may be a view of the file
            self.parts[part_name].state[parameter][key] = value


def _finite(gradient: Tensor) -> bool:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(torch.isfinite(values).all())
