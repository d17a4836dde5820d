"""Two processes that train one step together: what each does in `test_distributed.py`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from made_up import made_up_batch, made_up_config, made_up_model
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_model.heterrec import HeterRec
from heterrec_model.training.step import blank_batch

SEED = 23
PATIENCE = timedelta(seconds=300)


@dataclass(frozen=True)
class Scenario:
    """One step: settings, and how long the histories on each rank are. A rank without any gets a blank batch."""

    lengths: Sequence[Sequence[int]]
    loss: dict[str, Any] = field(default_factory=dict)
    negatives: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def fresh_model(self) -> HeterRec:
        return made_up_model(made_up_config(self.model, self.loss, self.negatives, self.train))

    def whole(self) -> Batch:
        """All ranks' users in one batch."""
        lengths = [n for own in self.lengths for n in own]
        batch = made_up_batch(lengths, seed=4)
        if "repeats" not in self.model:
            return batch
        before = made_up_batch([6 - n for n in lengths], seed=5).all_items()
        early_E = before.timestamp_E - 10**12
        return dataclasses.replace(batch, earlier=dataclasses.replace(before, timestamp_E=early_E))

    def part(self, rank: int, model: HeterRec) -> Batch:
        """A rank's own users, padded to the longest of its own."""
        if not self.lengths[rank]:
            return blank_batch(model.table)
        whole, before = self.whole(), sum(map(len, self.lengths[:rank]))
        users = slice(before, before + len(self.lengths[rank]))
        longest = max(self.lengths[rank])
        assert whole.behaviour_BT is not None
        earlier = whole.earlier
        if earlier is not None:
            own_E = (earlier.user_E >= users.start) & (earlier.user_E < users.stop)
            user_E = earlier.user_E[own_E] - users.start
            earlier = HistoryItems(user_E, earlier.item_E[own_E], earlier.timestamp_E[own_E])
        return dataclasses.replace(
            whole,
            item_BT=whole.item_BT[users, :longest],
            timestamp_BT=whole.timestamp_BT[users, :longest],
            length_B=whole.length_B[users],
            behaviour_BT=whole.behaviour_BT[users, :longest],
            user_features={name: x[users] for name, x in whole.user_features.items()},
            user_ids=whole.user_ids[users],
            earlier=earlier,
        )


def gradients(model: HeterRec) -> dict[str, Tensor]:
    found = {}
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        found[name] = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
    return found


def output_values(output: Any) -> dict[str, Tensor]:
    """What a step says of itself, over all ranks: its terms and the shares of open gates."""
    shares = {n: x for n, x in output.metrics.items() if n.startswith("open_gates")}
    return {**output.terms, **shares}


def train_apart(rank: int, world: int, scenarios: Sequence[Scenario], folder: str) -> None:
    """Make every scenario's step as one of several ranks; leaves gradients and terms in the folder."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, PATIENCE, world_size=world, rank=rank)
    for number, scenario in enumerate(scenarios):
        model = scenario.fresh_model()
        together = DistributedDataParallel(model)
        output = together(scenario.part(rank, model), SEED)
        output.total.backward()
        result = {"gradients": gradients(model), "output": output_values(output)}
        torch.save(result, Path(folder) / f"{number}-{rank}.pt")
    dist.destroy_process_group()
