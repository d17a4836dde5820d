"""What the model's benchmarks share: Amazon Beauty with six tokens an item, batches, models, timing on one thread.

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
MADE_UP = ("made_up_1", "made_up_2", "made_up_3", "made_up_4")
"""Amazon Beauty has three features; further tokens are numbers drawn at random for each item, in 32 bins."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser of arguments that knows --data."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data", type=Path, default=BEAUTY, help="a generation of Amazon Beauty")
    return made


def open_beauty(data: Path) -> Generation:
    """The generation; all that follows runs on one thread."""
    torch.set_num_threads(1)
    if not data.is_dir():
        sys.exit(
            f"there is no generation in {data}: name one with --data, or build it:\n"
            "heterrec-pipeline build --spec examples/amazon_beauty/leave_one_out.yaml "
            f"--input ../shared/data/amazon_beauty --output {data}"
        )
    return open_generation(data, verify="sizes")


def table_with(generation: Generation, tokens: int) -> TokenTable:
    """A table whose items have so many tokens, the id among them: the generation's features first, then made-up ones."""
    names = [entry.name for entry in open_token_table(generation).features]
    table = open_token_table(generation, features=names[: tokens - 1])
    for name in MADE_UP[: max(0, tokens - 1 - len(names))]:
        table = _with_feature(table, name)
    return table


def _with_feature(table: TokenTable, name: str) -> TokenTable:
    """The table with one more numeric feature, whose tokens are drawn at random."""
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
    """A config: the defaults, and what is given."""
    return parse_config(dict(sections), where="the benchmark")


def model_of(config: Config, table: TokenTable, generation: Generation) -> HeterRec:
    """A HeterRec with its starting weights, in training mode."""
    return cast(HeterRec, build_model(config, table, generation).train())


def real_batches(generation: Generation, config: Config, count: int) -> list[Batch]:
    """The first batches of an epoch, as the loader gives them."""
    return list(islice(TrainLoader(generation, config), count))


def full_batch(batches: Sequence[Batch], users: int, length: int) -> Batch:
    """Histories of one full length: those of the batches strung together, so that items keep their popularity."""
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
    """Seconds of one call: by the clock, and of CPU, which other processes disturb less."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Timing:
    """Call it once."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(works: Sequence[Callable[[], object]], repeats: int) -> list[list[Timing]]:
    """Call several in turn, each `repeats` times, every second round backwards; their timings."""
    found: list[list[Timing]] = [[] for _ in works]
    for n in range(repeats):
        order = range(len(works)) if n % 2 == 0 else reversed(range(len(works)))
        for side in order:
            found[side].append(timed(works[side]))
    return found


def median_ms(timings: Sequence[Timing], clock: str) -> float:
    """The median in milliseconds; `clock` is wall or cpu."""
    seconds: float = statistics.median(getattr(t, clock) for t in timings)
    return 1e3 * seconds


Step = Callable[[Batch, int], None]
"""A whole training step on a batch; the number seeds its negatives and its dropout."""
FACTOR = 0.01
"""Of the learning rate: the weights, and with them the gates, hardly change while steps are timed."""


def stepper(model: HeterRec, loss: Callable[[Batch, int], torch.Tensor] | None = None) -> Step:
    """Forward, backward, clipping, AdamW.

    Args:
        model: whose weights are trained.
        loss: computed from them; left out: the model's own.
    """
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
