"""One optimiser step: the gradients of one or several batches, checked, clipped and applied."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from heterrec_model.config import TrainConfig
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.hct import FeedForward, Fuse
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.training.finite import check_norm, check_terms
from heterrec_model.training.optimizer import Optimizers
from heterrec_model.training.processes import World
from heterrec_model.training.seeds import mix
from heterrec_model.two_tower import StepOutput, TwoTowerModel


@dataclass(frozen=True)
class StepResult:
    """What a step left for the log.

    Attributes:
        loss: the mean over the step's batches.
        terms: the loss's terms, means.
        metrics: what else the model tells, means.
        norm: of the gradients before clipping.
    """

    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    norm: float


PARTS = (FeedForward, Fuse, ItemTower)
"""What `train.compile` compiles; FlexAttention is compiled anyway."""


class Stepper:
    """Makes steps; what a step draws at random follows from its number alone.

    Args:
        model: what is trained.
        optimizers: of its parameters.
        train: the settings.
        world: this process and the others.
    """

    def __init__(
        self, model: TwoTowerModel, optimizers: Optimizers, train: TrainConfig, world: World
    ) -> None:
        self._optimizers, self._train, self._world = optimizers, train, world
        self._blank = blank_batch(model.table)
        if train.compile:
            compile_parts(model)
        self._network: nn.Module = model
        if world.size > 1:
            self._network = DistributedDataParallel(model, broadcast_buffers=False)

    def run(
        self,
        batches: Sequence[Batch],
        *,
        step: int,
        parts: int,
        factor: float,
        expected: Sequence[str] | None,
    ) -> StepResult:
        """Make one step.

        Args:
            batches: at most `parts` of them; blank ones stand in for the rest, so that all ranks do the same.
            step: steps done before.
            parts: the number of batches on the rank that has most.
            factor: of the learning rate.
            expected: the loss terms of the run's first step.

        Raises:
            RunError: the loss or a gradient is not finite, or a term is absent; the weights are unchanged.
        """
        outputs = []
        for part in range(parts):
            batch = batches[part] if part < len(batches) else self._blank
            with self._together(part == parts - 1):
                outputs.append(self._backward(batch, step, part, parts))
        told = [_numbers(output) for output in outputs]
        for batch, (total, terms, _) in zip(batches, told, strict=False):
            check_terms(total, terms, expected, step=step + 1, users=batch.user_ids)
        norm = float(self._optimizers.clip())
        bad = [] if norm < float("inf") else self._optimizers.bad_gradients()
        users = [user for batch in batches for user in batch.user_ids]
        check_norm(norm, bad, step=step + 1, users=users)
        self._optimizers.step(factor)
        return StepResult(
            sum(total for total, _, _ in told) / parts,
            _mean([terms for _, terms, _ in told]),
            _mean([metrics for _, _, metrics in told]),
            norm,
        )

    def _backward(self, batch: Batch, step: int, part: int, parts: int) -> StepOutput:
        seed = self._train.seed
        torch.manual_seed(mix(seed, step, part, self._world.rank))
        output = cast(
            StepOutput, self._network(batch.to(self._world.device), mix(seed, step, part))
        )
        (output.total / parts).backward()  # type: ignore[no-untyped-call]
        return output

    def _together(self, last: bool) -> AbstractContextManager[Any]:
        """Ranks add up their gradients once a step, at its last batch."""
        if last or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return self._network.no_sync()


def compile_parts(model: nn.Module) -> None:
    """Compile the parts that do the arithmetic, each kind once, for any number of users and items.

    The whole would be compiled anew for almost every batch: the loss picks its distinct items, so its shapes are data.
    """
    for module in model.modules():
        if isinstance(module, PARTS):
            module.compile(dynamic=True)


def blank_batch(table: TokenTable) -> Batch:
    """One user with one padding item: no position, no loss, no gradient."""
    one = torch.ones(1, dtype=torch.int64)
    empty = torch.zeros((1, 1), dtype=torch.int64)
    features = {
        f.name: torch.zeros((1, f.columns) if f.multivalued else 1, dtype=torch.int64)
        for f in table.user_features
    }
    behaviour = empty if table.behaviours else None
    return Batch(empty, empty, one, behaviour, features, user_ids=("(none)",))


def _numbers(output: StepOutput) -> tuple[float, dict[str, float], dict[str, float]]:
    """A step's output as plain numbers; the device is waited for once."""
    values: list[Tensor] = [output.total.detach(), *output.terms.values(), *output.metrics.values()]
    numbers = torch.stack([v.to(torch.float64) for v in values]).tolist()
    terms = dict(zip(output.terms, numbers[1:], strict=False))
    metrics = dict(zip(output.metrics, numbers[1 + len(terms) :], strict=True))
    return numbers[0], terms, metrics


def _mean(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    found = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
