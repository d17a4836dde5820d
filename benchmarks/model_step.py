"""The training step against a straightforward implementation of the same loss, on one thread of a CPU.

    python benchmarks/model_step.py [--data GENERATION] [--repeats 3]

Both have the same weights and draw the same candidates, with K=6 tokens an item, D=64, N1=N2=2 and the token-level losses.
First, with dropout 0 in float64, their losses and gradients must be equal. Then a step (forward, backward, clipping, AdamW)
is timed in turn, with dropout: on the loader's own batches, which the other side pads to T=50; on the same users not put
together by length; and on histories that are all full.
"""

import argparse
import statistics
from dataclasses import replace
from functools import partial

import torch
from measure import machine
from model_work import (
    Step,
    Timing,
    full_batch,
    interleaved,
    median_ms,
    model_of,
    open_beauty,
    parser,
    real_batches,
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
    """Check that both sides are equal, then time them."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--batches", type=int, default=6, help="batches of the loader")
    a = arguments.parse_args()
    generation = open_beauty(a.data)
    table = table_with(generation, TOKENS)
    work = batches_of(generation, a)
    print(f"{', '.join(f.name for f in table.features)}; {machine()}, 1 thread")
    for batches in work.values():
        check_equal(generation, table, few_users(batches[0]))
    print("with dropout 0 in float64 both sides give equal losses and gradients")
    print(
        f"{'':>24} {'users x T':>10} {'package ms':>12} {'plain ms':>12} {'ratio':>7} "
        f"{'of CPU':>7} batch by batch"
    )
    ours, theirs = steppers(generation, table)
    for name, batches in work.items():
        pairs = [compare(ours, theirs, batch, a.repeats) for batch in batches]
        report(name, batches, pairs)


def batches_of(generation: Generation, a: argparse.Namespace) -> dict[str, list[Batch]]:
    """The three kinds of batches, about a thousand items each."""
    by_length = settings(data={"batch_users": USERS})
    loaded = real_batches(generation, by_length, 40)
    mixed = {"batch_users": USERS, "batch_items": USERS * LENGTH, "length_buckets": False}
    unsorted = real_batches(generation, settings(data=mixed), max(1, a.batches // 3))
    full = full_batch(loaded, users=1000 // LENGTH, length=LENGTH)
    step = len(loaded) // a.batches
    return {
        "batches by length": loaded[::step][: a.batches],
        "batches of any length": unsorted,
        "full histories": [full] * max(1, a.batches // 2),
    }


def few_users(batch: Batch) -> Batch:
    """A part of the batch that float64 takes in seconds."""
    kept = slice(0, 8)
    return replace(
        batch,
        item_BT=batch.item_BT[kept],
        timestamp_BT=batch.timestamp_BT[kept],
        length_B=batch.length_B[kept],
        user_ids=batch.user_ids[kept],
    )


def check_equal(generation: Generation, table: TokenTable, batch: Batch) -> None:
    """Stop unless both sides give the same loss and the same gradient of every weight."""
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
    """A training step of the package and one of the straightforward implementation, each on weights of its own."""
    ours, theirs = (model_of(settings(), table, generation) for _ in range(2))
    plain = Straightforward(theirs)
    return stepper(ours), stepper(theirs, lambda batch, seed: plain(padded(batch, LENGTH), seed))


def compare(ours: Step, theirs: Step, batch: Batch, repeats: int) -> list[list[Timing]]:
    """Both sides on one batch, after one step of each that is not timed."""
    works = [partial(ours, batch, SEED), partial(theirs, batch, SEED)]
    interleaved(works[:1], 1)
    return interleaved(works, repeats)


def report(name: str, batches: list[Batch], pairs: list[list[list[Timing]]]) -> None:
    """One line: the mean over the batches of each side's median, their ratio, and the ratio batch by batch."""
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
