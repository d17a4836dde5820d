"""Items per second of the loader and of the training step, on one thread each.

    python benchmarks/model_loader.py [--data GENERATION] [--repeats 3]

A round is one epoch of batches from the shards, shuffled and grouped by length, and then some training steps on batches of
that epoch, with the default model and with a small one.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from measure import machine
from model_shared import (
    interleaved,
    median_ms,
    model_of,
    real_batches,
    set_up,
    settings,
    stepper,
    table_with,
)

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import open_token_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_schemas import Generation

SMALL: dict[str, dict[str, Any]] = {
    "model": {"token_blocks": 1, "item_blocks": 1},
    "loss": {"token_weight": 0.0},
}
STEPS = 12


def main() -> None:
    """Time both in turn and print items per second."""
    call, generation = set_up(__doc__, repeats=3)
    config = settings()
    epoch = list(TrainLoader(generation, config))
    batches = real_batches(generation, config, len(epoch))[:: max(1, len(epoch) // STEPS)]
    named: dict[str, tuple[Callable[[], None], int]] = {
        "loader": (_epoch(generation, config), items_of(epoch)),
        "step, default model": (_steps(generation, config, batches), items_of(batches)),
        "step, N1=N2=1, no token losses": (
            _steps(generation, settings(**SMALL), batches),
            items_of(batches),
        ),
    }
    works = [work for work, _ in named.values()]
    interleaved(works[1:], 1)
    timings = interleaved(works, call.repeats)
    rates = {
        name: items / median_ms(times, "cpu") * 1e3
        for (name, (_, items)), times in zip(named.items(), timings, strict=True)
    }
    features = len(open_token_table(generation).features)
    print(f"{features} features and the id; {items_of(epoch):,} items per epoch; {machine()}")
    print(f"{'':>31} {'items per CPU second':>22} {'loader relative':>15}")
    for name, rate in rates.items():
        print(f"{name:>31} {rate:22,.0f} {rates['loader'] / rate:15.1f}")


def items_of(batches: Sequence[Batch]) -> int:
    """Number of items, without padding."""
    return sum(int(batch.length_B.sum()) for batch in batches)


def _epoch(generation: Generation, config: Config) -> Callable[[], None]:
    loader = TrainLoader(generation, config)

    def run() -> None:
        for _ in loader:
            pass

    return run


def _steps(generation: Generation, config: Config, batches: Sequence[Batch]) -> Callable[[], None]:
    table = table_with(generation, 1 + len(open_token_table(generation).features))
    model = model_of(config, table, generation)
    step, seeds = stepper(model), itertools.count()

    def run() -> None:
        for batch in batches:
            step(batch, next(seeds))

    return run


if __name__ == "__main__":
    main()
