"""Shared by the benchmarks of the model: Amazon Beauty with extra features, batches, models, timing on one thread.

Shapes: I ids of items, C columns of tokens, B users, T items.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch

from heterrec_model.config import Config, parse_config
from heterrec_model.data.batch import Batch
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.heterrec import HeterRec
from heterrec_model.registry import build_model
from heterrec_model.training.optimizer import Optimizers
from heterrec_schemas import Generation, open_generation

ROOT = Path(__file__).resolve().parent.parent
BEAUTY = ROOT / ".bench" / "beauty"
BINS = 32
"""Number of bins of a made-up feature."""
MADE_UP = ("made_up_1", "made_up_2", "made_up_3", "made_up_4")
"""Names of random numeric features, for more tokens per item than the three features of Amazon Beauty."""


def set_up(
    doc: str | None, *, repeats: int, **options: tuple[int, str]
) -> tuple[argparse.Namespace, Generation]:
    """Parse --data, --repeats and further integer options, open the generation, and set PyTorch to one thread.

    Args:
        doc: help text of the benchmark.
        repeats: default of --repeats.
        options: default and help text of further options.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=BEAUTY, help="a generation of Amazon Beauty")
    parser.add_argument("--repeats", type=int, default=repeats, help="number of rounds")
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    call = parser.parse_args()
    if not call.data.is_dir():
        sys.exit(
            f"there is no generation in {call.data}: choose one with --data, or build it:\n"
            "heterrec-pipeline build --spec examples/amazon_beauty/leave_one_out.yaml "
            f"--input data --output {call.data}"
        )
    torch.set_num_threads(1)
    return call, open_generation(call.data, verify="sizes")


def table_with(generation: Generation, tokens: int) -> TokenTable:
    """A table with a number of tokens per item, id included: features of the generation first, then made-up ones."""
    names = [entry.name for entry in open_token_table(generation).features]
    table = open_token_table(generation, features=names[: tokens - 1])
    for name in MADE_UP[: max(0, tokens - 1 - len(names))]:
        table = _with_feature(table, name)
    return table


def _with_feature(table: TokenTable, name: str) -> TokenTable:
    """The table with an additional numeric feature with random tokens."""
    random = torch.Generator().manual_seed(len(table.features))
    items, start = table.tokens_IC.shape
    drawn_I1 = torch.randint(2, 2 + BINS, (items, 1), generator=random, dtype=torch.int32)
    drawn_I1[0] = 0
    feature = FeatureInfo(name, "numeric", size=2 + BINS, start=start, columns=1)
    return replace(
        table,
        features=(*table.features, feature),
        tokens_IC=torch.cat([table.tokens_IC, drawn_I1], 1),
        value_IK=torch.cat([table.value_IK, drawn_I1.long()], 1),
    )


def settings(**sections: dict[str, Any]) -> Config:
    """The default config with other values in some sections."""
    return parse_config(dict(sections), where="the benchmark")


def model_of(config: Config, table: TokenTable, generation: Generation) -> HeterRec:
    """A HeterRec with its initial weights, in training mode."""
    return cast(HeterRec, build_model(config, table, generation).train())


def real_batches(generation: Generation, config: Config, count: int) -> list[Batch]:
    """The first batches of an epoch."""
    return list(islice(TrainLoader(generation, config), count))


def full_batch(batches: Sequence[Batch], users: int, length: int) -> Batch:
    """Histories of equal length, cut from the concatenated histories of the batches: items keep their popularity."""
    items = torch.cat([b.item_BT[b.valid_BT()] for b in batches])[: users * length]
    times = torch.cat([b.timestamp_BT[b.valid_BT()] for b in batches])[: users * length]
    return Batch(
        item_BT=items.view(users, length),
        timestamp_BT=times.view(users, length).sort(1).values,
        length_B=torch.full((users,), length),
        behaviour_BT=None,
        user_features={},
        user_ids=range(users),
    )


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: wall time, and CPU time, which depends less on other processes."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Timing:
    """Time one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(works: Sequence[Callable[[], object]], repeats: int) -> list[list[Timing]]:
    """Time several functions in turn, `repeats` rounds, every second round in reverse order."""
    timings: list[list[Timing]] = [[] for _ in works]
    for n in range(repeats):
        order = range(len(works)) if n % 2 == 0 else reversed(range(len(works)))
        for k in order:
            timings[k].append(timed(works[k]))
    return timings


def median_ms(timings: Sequence[Timing], clock: str) -> float:
    """Median in milliseconds; `clock` is wall or cpu."""
    seconds: float = statistics.median(getattr(t, clock) for t in timings)
    return 1e3 * seconds


Step = Callable[[Batch, int], None]
"""A training step on a batch; the number seeds its negatives and dropout."""
FACTOR = 0.01
"""Factor of the learning rate: weights and gates hardly change while steps are timed."""


def stepper(model: HeterRec, loss: Callable[[Batch, int], torch.Tensor] | None = None) -> Step:
    """A step with forward, backward, clipping and AdamW; `loss` replaces the loss of the model."""
    optimizers = Optimizers(model, model.config.train)

    def own(batch: Batch, seed: int) -> torch.Tensor:
        total: torch.Tensor = model(batch, seed).total
        return total

    def step(batch: Batch, seed: int) -> None:
        torch.manual_seed(seed)
        (loss or own)(batch, seed).backward()  # type: ignore[no-untyped-call]
        optimizers.clip()
        optimizers.step(FACTOR)

    return step
