"""The time to encode one user: PyTorch against onnxruntime, by the length of the history, one thread.

    python benchmarks/user_tower.py --data .demo/out

A model with the default settings (width 64, two blocks a level, at most 50 items) is trained for one step, since times do
not depend on the weights, and exported. Histories are the last items of the longest ones of the generation.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import numpy as np
import torch

from heterrec_model.config import load_config
from heterrec_model.recommending.bundle_recommender import BundleRecommender, encoded
from heterrec_model.recommending.history import EncodedHistory
from heterrec_model.serving.export import export
from heterrec_model.serving.recommender import Recommender
from heterrec_model.training.train import train

LENGTHS = (10, 25, 50)
BATCHES = (1, 64)


def main() -> None:
    """Print a table of times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="output folder of a build")
    parser.add_argument("--repeats", type=int, default=200, help="calls per time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run, bundle = Path(folder, "run"), Path(folder, "bundle")
        config = load_config(
            "cpu",
            [
                "model.token_blocks=2",
                "model.item_blocks=2",
                "train.max_steps=1",
                "train.threads=1",
                "train.device=cpu",
            ],
        )
        train(config, data=options.data, run=run, quiet=True)
        export(run, options.data, bundle, checkpoint="last", evaluate=False)
        eager = Recommender.load(run, options.data, checkpoint="last")
        served = BundleRecommender.open(bundle)
        tokens = eager.loaded.model.tables.tokens
        print(f"K {tokens}, {config.model.token_blocks} + {config.model.item_blocks} blocks")
        print("| items | users | PyTorch p50, ms | onnxruntime p50, ms | p99, ms | ratio |")
        print("|---|---|---|---|---|---|")
        for length in LENGTHS:
            histories = long_histories(served, length, max(BATCHES))
            for users in BATCHES:
                some = histories[:users]
                ours = times(lambda some=some: served.encode(some), options.repeats)
                theirs = times(lambda some=some: eager.encode(some), options.repeats)
                p50, p99, other = (
                    1e3 * np.percentile(x, p) for x, p in ((ours, 50), (ours, 99), (theirs, 50))
                )
                print(
                    f"| {length} | {users} | {other:.2f} | {p50:.2f} | {p99:.2f} | {p50 / other:.2f} |"
                )


def long_histories(served: BundleRecommender, length: int, count: int) -> list[EncodedHistory]:
    """Histories cut to a number of items."""
    assert served.histories is not None
    found = []
    for row in served.histories.rows(0, len(served.histories)):
        history = encoded(row)
        if len(history) >= length:
            cut = {"item_T": history.item_T[-length:], "time_T": history.time_T[-length:]}
            found.append(replace(history, **cut))
        if len(found) == count:
            break
    return found


def times(call: Callable[[], object], repeats: int) -> Sequence[float]:
    """Seconds of several calls, after some to warm up."""
    for _ in range(5):
        call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
