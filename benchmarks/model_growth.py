"""Time of the training step by T, K, D, N1 and N2, on one thread of a CPU: medians.

    python benchmarks/model_growth.py [--data GENERATION] [--repeats 5]

Histories are full, with about 1,000 items per batch for every T. One setting at a time differs from T=50, K=6, D=64, N1=N2=2.
"""

import statistics
from collections.abc import Callable
from functools import partial

from measure import machine
from model_shared import (
    full_batch,
    interleaved,
    median_ms,
    model_of,
    real_batches,
    set_up,
    settings,
    stepper,
    table_with,
)

from heterrec_model.data.batch import Batch
from heterrec_schemas import Generation

BASE = {"T": 50, "K": 6, "D": 64, "N1": 2, "N2": 2}
GROWTH = {
    "T": (25, 50, 100, 200),
    "K": (1, 2, 4, 6, 8),
    "D": (32, 64, 128, 256),
    "N1": (0, 1, 2, 4),
    "N2": (0, 1, 2, 4),
}
ITEMS = 1000
"""Number of items per batch."""
SEED = 5


def main() -> None:
    """Time every setting in turn and print a table."""
    call, generation = set_up(__doc__, repeats=5)
    batches = real_batches(generation, settings(), 40)
    print(f"{ITEMS:,} items per batch, full histories; {machine()}, 1 thread")
    print(f"{'':>8} {'wall ms':>9} {'CPU ms':>9} {'relative':>12}")
    for name, values in GROWTH.items():
        chosen = [BASE | {name: value} for value in values]
        steps = [one_step(generation, batches, one) for one in chosen]
        interleaved(steps, 1)
        timings = interleaved(steps, call.repeats)
        base = statistics.median(t.cpu for t in timings[values.index(BASE[name])])
        for value, times in zip(values, timings, strict=True):
            cpu = median_ms(times, "cpu")
            label = f"{name}={value}"
            print(f"{label:>8} {median_ms(times, 'wall'):9.0f} {cpu:9.0f} {cpu / base / 1e3:12.2f}")


def one_step(
    generation: Generation, batches: list[Batch], size: dict[str, int]
) -> Callable[[], None]:
    """A training step with the given sizes."""
    config = settings(
        model={
            "width": size["D"],
            "max_length": size["T"],
            "token_blocks": size["N1"],
            "item_blocks": size["N2"],
        }
    )
    model = model_of(config, table_with(generation, size["K"]), generation)
    batch = full_batch(batches, ITEMS // size["T"], size["T"])
    return partial(stepper(model), batch, SEED)


if __name__ == "__main__":
    main()
