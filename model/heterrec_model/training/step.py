"""One optimiser step: gradients of one or several batches, checked, clipped and applied."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from heterrec_model.config import TrainConfig
from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.hct import FeedForward, TokenFusion
from heterrec_model.layers.item_tower import ItemTower
from heterrec_model.training.finite import check_norm, check_terms
from heterrec_model.training.optimizer import Optimizers
from heterrec_model.training.processes import World
from heterrec_model.two_tower import StepOutput, TwoTowerModel


@dataclass(frozen=True)
class StepResult:
    """Values of a step for the log.

    Attributes:
        loss: mean over the batches of the step.
        terms: means of the loss terms.
        metrics: means of the model's further metrics, without NaN.
        norm: norm of the gradients before clipping.
    """

    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    norm: float


COMPILED = (FeedForward, TokenFusion, ItemTower)
"""Modules that `train.compile` compiles; FlexAttention is always compiled."""


class Stepper:
    """Runs optimiser steps; the random draws of a step depend on the seed and its number only."""

    def __init__(
        self, model: TwoTowerModel, optimizers: Optimizers, train: TrainConfig, world: World
    ) -> None:
        self._optimizers, self._train, self._world = optimizers, train, world
        self._blank = blank_batch(model.table)
        if train.compile:
            # Not the whole model: its shapes depend on the distinct items, so nearly every batch would be recompiled.
            for module in model.modules():
                if isinstance(module, COMPILED):
                    module.compile(dynamic=True)
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
        """Run one step.

        Args:
            batches: at most `parts`; blank batches replace missing ones, so that all ranks do the same.
            step: steps done before.
            parts: maximum number of batches over the ranks.
            factor: of the learning rate.
            expected: loss terms of the first step of the run.

        Raises:
            RunError: the loss or a gradient is not finite, or a term is missing; the weights are unchanged.
        """
        outputs = []
        for part in range(parts):
            batch = batches[part] if part < len(batches) else self._blank
            with self._gradient_sync(part == parts - 1):
                outputs.append(self._backward(batch, step, part, parts))
        values = [_numbers(output) for output in outputs]
        for batch, (total, terms, _) in zip(batches, values, strict=False):
            check_terms(total, terms, expected, step=step + 1, users=batch.user_ids)
        norm = float(self._optimizers.clip())
        bad = [] if norm < float("inf") else self._optimizers.bad_gradients()
        users = [user for batch in batches for user in batch.user_ids]
        check_norm(norm, bad, step=step + 1, users=users)
        self._optimizers.step(factor)
        return StepResult(
            sum(total for total, _, _ in values) / parts,
            _mean([terms for _, terms, _ in values]),
            _mean([metrics for _, _, metrics in values]),
            norm,
        )

    def _backward(self, batch: Batch, step: int, part: int, parts: int) -> StepOutput:
        seed = self._train.seed
        torch.manual_seed(mixed_seed(seed, step, part, self._world.rank))
        batch = batch.to(self._world.device)
        output = cast(StepOutput, self._network(batch, mixed_seed(seed, step, part)))
        (output.total / parts).backward()  # type: ignore[no-untyped-call]
        return output

    def _gradient_sync(self, last: bool) -> AbstractContextManager[Any]:
        """Reduce gradients over ranks once per step, at its last batch."""
        if last or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return self._network.no_sync()


def mixed_seed(*numbers: int) -> int:
    """A 63-bit seed from several numbers, none negative.

    Because each step is seeded by its number, no random state is saved: step 120 draws the same numbers in a run that was
    resumed at step 100 as in an uninterrupted one.
    """
    # SeedSequence reads missing words as 0: without the length, (1, 2) and (1, 2, 0) would be equal.
    sequence = np.random.SeedSequence([len(numbers), *numbers])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def blank_batch(table: TokenTable) -> Batch:
    """One user with one padding item: no positions, no loss, no gradients."""
    one = torch.ones(1, dtype=torch.int64)
    empty = torch.zeros((1, 1), dtype=torch.int64)
    features = {
        f.name: torch.zeros((1, f.columns) if f.multivalued else 1, dtype=torch.int64)
        for f in table.user_features
    }
    behaviour = empty if table.behaviours else None
    none = HistoryItems(*torch.zeros((3, 0), dtype=torch.int64))
    return Batch(empty, empty, one, behaviour, features, user_ids=("(none)",), earlier=none)


def _numbers(output: StepOutput) -> tuple[float, dict[str, float], dict[str, float]]:
    """A step's output as plain numbers, with a single synchronisation of the device."""
    values: list[Tensor] = [output.total.detach(), *output.terms.values(), *output.metrics.values()]
    numbers = torch.stack([v.to(torch.float64) for v in values]).tolist()
    terms = dict(zip(output.terms, numbers[1:], strict=False))
    metrics = dict(zip(output.metrics, numbers[1 + len(terms) :], strict=True))
    return numbers[0], terms, metrics


def _mean(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    by_name = {name: [part[name] for part in parts if name in part] for name in names}
    # a share of no positions is NaN
    known = {name: [v for v in values if v == v] for name, values in by_name.items()}
    return {name: sum(v) / len(v) if v else float("nan") for name, v in known.items()}
