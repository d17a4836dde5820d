"""The training step compared with a straightforward implementation of the same loss, on one thread of a CPU.

    python benchmarks/model_step.py [--data GENERATION] [--repeats 3]

Both have the same weights and candidates, with K=6 tokens per item, D=64, N1=N2=2 and token-level losses. First, with
dropout 0 in float64, their losses and gradients must be equal. Then a step (forward, backward, clipping, AdamW) of each is
timed in turn, with dropout: on the loader's batches, which the straightforward implementation pads to T=50; on users of any
length; and on full histories.
"""

import statistics
from dataclasses import replace
from functools import partial

import torch
from measure import machine
from model_shared import (
    Step,
    Timing,
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
from straightforward import Straightforward, padded

from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable
from heterrec_schemas import Generation

LENGTH, TOKENS, USERS = 50, 6, 128
SEED = 5


def main() -> None:
    """Check that both implementations are equal, then time them."""
    call, generation = set_up(__doc__, repeats=3, batches=(6, "number of batches of the loader"))
    table = table_with(generation, TOKENS)
    work = batches_of(generation, call.batches)
    print(f"{', '.join(f.name for f in table.features)}; {machine()}, 1 thread")
    for batches in work.values():
        check_equal(generation, table, few_users(batches[0]))
    print("losses and gradients are equal with dropout 0 in float64")
    print(
        f"{'':>24} {'users x T':>10} {'package ms':>12} {'plain ms':>12} {'ratio':>7} "
        f"{'CPU':>7} per batch"
    )
    ours, theirs = steppers(generation, table)
    for name, batches in work.items():
        pairs = [compare(ours, theirs, batch, call.repeats) for batch in batches]
        report(name, batches, pairs)


def batches_of(generation: Generation, count: int) -> dict[str, list[Batch]]:
    """The three kinds of batches, with about a thousand items each."""
    by_length = settings(data={"batch_users": USERS})
    loaded = real_batches(generation, by_length, 40)
    mixed = {"batch_users": USERS, "batch_items": USERS * LENGTH, "length_buckets": False}
    unsorted = real_batches(generation, settings(data=mixed), max(1, count // 3))
    full = full_batch(loaded, users=1000 // LENGTH, length=LENGTH)
    step = len(loaded) // count
    return {
        "batches by length": loaded[::step][:count],
        "batches of any length": unsorted,
        "full histories": [full] * max(1, count // 2),
    }


def few_users(batch: Batch) -> Batch:
    """The first users of the batch, for a check in float64 that takes seconds."""
    kept = slice(0, 8)
    return replace(
        batch,
        item_BT=batch.item_BT[kept],
        timestamp_BT=batch.timestamp_BT[kept],
        length_B=batch.length_B[kept],
        user_ids=batch.user_ids[kept],
    )


def check_equal(generation: Generation, table: TokenTable, batch: Batch) -> None:
    """Assert that both implementations have equal losses and equal gradients of every weight."""
    model = model_of(settings(model={"dropout": 0.0, "id_dropout": 0.0}), table, generation)
    plain = Straightforward(model.double())
    weights = list(model.parameters())
    losses = model(batch, SEED).total, plain(padded(batch, LENGTH), SEED)
    gradients = [
        torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-11)


def steppers(generation: Generation, table: TokenTable) -> tuple[Step, Step]:
    """A training step of the package and one of the straightforward implementation, with separate weights."""
    ours, theirs = (model_of(settings(), table, generation) for _ in range(2))
    plain = Straightforward(theirs)
    return stepper(ours), stepper(theirs, lambda batch, seed: plain(padded(batch, LENGTH), seed))


def compare(ours: Step, theirs: Step, batch: Batch, repeats: int) -> list[list[Timing]]:
    """Timings of both implementations on one batch, after a warm-up step."""
    works = [partial(ours, batch, SEED), partial(theirs, batch, SEED)]
    interleaved(works[:1], 1)
    return interleaved(works, repeats)


def report(name: str, batches: list[Batch], pairs: list[list[list[Timing]]]) -> None:
    """Print one line: means of the medians over the batches, their ratios, and the range of ratios per batch."""
    shapes = {"x".join(str(n) for n in b.item_BT.shape) for b in batches}
    shape = shapes.pop() if len(shapes) == 1 else f"<={USERS}"
    means = {
        clock: [statistics.mean(median_ms(pair[side], clock) for pair in pairs) for side in (0, 1)]
        for clock in ("wall", "cpu")
    }
    ratios = {clock: plain / package for clock, (package, plain) in means.items()}
    each = [median_ms(pair[1], "cpu") / median_ms(pair[0], "cpu") for pair in pairs]
    package, plain = means["wall"]
    print(
        f"{name:>24} {shape:>10} {package:12.0f} {plain:12.0f} {ratios['wall']:7.1f} "
        f"{ratios['cpu']:7.1f} {min(each):.1f} to {max(each):.1f}"
    )


if __name__ == "__main__":
    main()
