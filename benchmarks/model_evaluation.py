"""Time and memory of the evaluation over the full catalogue, on one thread.

    python benchmarks/model_evaluation.py [--data GENERATION] [--repeats 2]

All users of the test split and all items: the catalogue in several chunks or in one, seen items kept or filtered.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measure import SAMPLE_SECONDS, Peak, machine
from model_shared import Timing, model_of, set_up, settings, timed

from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.token_table import open_token_table
from heterrec_model.evaluation.evaluate import evaluate_model
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.heterrec import HeterRec
from heterrec_schemas import Generation

CLOCKS = ("wall", "cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "chunks of 2,048 items": {"chunk_items": 2048},
    "one chunk": {},
    "seen items filtered": {"filter_seen": True},
}


def main() -> None:
    """Time all variants in turn and print a table."""
    call, generation = set_up(__doc__, repeats=2)
    table = open_token_table(generation)
    model = model_of(settings(), table, generation)
    works: dict[str, Callable[[], object]] = {"encoding alone": partial(encode, model, generation)}
    for name, changes in VARIANTS.items():
        config = settings(evaluation=changes)
        works[name] = partial(evaluate_model, model, generation, "test", config)
    _, base = watched(lambda: None)
    rounds = [{name: watched(work) for name, work in works.items()} for _ in range(call.repeats)]
    users = sum(batch.users for batch in split_batches(generation, "test", Config()))
    print(f"{users:,} users x {len(table.catalogue_N):,} items; {machine()}, 1 thread")
    print(f"{'':>24} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    for name in works:
        timings, peaks = zip(*(one[name] for one in rounds), strict=True)
        wall, cpu = (statistics.median(getattr(t, clock) for t in timings) for clock in CLOCKS)
        print(f"{name:>24} {wall:8.1f} {cpu:8.1f} {max(peaks):8,.0f}")
    print(f"memory before: {base:,.0f} MB, with PyTorch, table and model")


def encode(model: HeterRec, generation: Generation) -> None:
    """Compute the vectors of all items and users."""
    scorer = VectorScorer(model)
    for batch in split_batches(generation, "test", Config()):
        scorer.encode(batch)


def watched(work: Callable[[], object]) -> tuple[Timing, float]:
    """Timing of one call, and the peak resident megabytes of this process during it."""
    peak = Peak(os.getpid())
    peak.start()
    timing = timed(work)
    time.sleep(2 * SAMPLE_SECONDS)
    peak.stop()
    return timing, peak.bytes / 2**20


if __name__ == "__main__":
    main()
