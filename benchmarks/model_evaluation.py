"""Evaluation over the full catalogue, on one thread: seconds by part, and memory.

    python benchmarks/model_evaluation.py [--data GENERATION] [--repeats 3]

All users of the test split against all items, seen items kept and filtered, and with a catalogue in several chunks.
"""

import resource
import statistics
import time

from measure import machine
from model_work import model_of, open_beauty, parser, settings

from heterrec_model.config import Config
from heterrec_model.data.loader import split_batches
from heterrec_model.data.token_table import open_token_table
from heterrec_model.evaluation.evaluate import evaluate_model
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.heterrec import HeterRec
from heterrec_schemas import Generation

WAYS = {
    "chunks of 2,048 items": {"chunk_items": 2048},
    "one chunk": {},
    "seen items filtered": {"filter_seen": True},
}


def main() -> None:
    """Time every way in turn and print a table."""
    arguments = parser(__doc__)
    arguments.add_argument("--repeats", type=int, default=3)
    a = arguments.parse_args()
    generation = open_beauty(a.data)
    configs = {name: settings(evaluation=changes) for name, changes in WAYS.items()}
    model = model_of(settings(), open_token_table(generation), generation)
    encoding = [encode(model, generation)]
    before = peak_mb()
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    peaks: dict[str, float] = {}
    for _ in range(a.repeats):
        for name, config in configs.items():
            result = evaluate_model(model, generation, "test", config)
            seconds[name].append(result.seconds)
            peaks.setdefault(name, peak_mb())
        encoding.append(encode(model, generation))
    users, width = result.per_user.users, model.config.model.width
    print(f"{users:,} users x {result.catalogue:,} items, D={width}; {machine()}, 1 thread")
    print(f"{'':>24} {'seconds':>8} {'users a second':>15} {'peak MB':>8}")
    print(f"{'encoding alone':>24} {statistics.median(encoding):8.1f} {'':>15} {before:8,.0f}")
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"{name:>24} {middle:8.1f} {users / middle:15,.0f} {peaks[name]:8,.0f}")


def encode(model: HeterRec, generation: Generation) -> float:
    """Seconds for all vectors of items and users."""
    started = time.perf_counter()
    scorer = VectorScorer(model)
    for batch in split_batches(generation, "test", Config()):
        scorer.encode(batch)
    return time.perf_counter() - started


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
