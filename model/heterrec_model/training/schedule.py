"""Learning-rate schedule: a warm-up in steps, then a decay over the rest of the run.

The number of steps per epoch is not known in advance, because batches are limited by items. The share of rows (or of
max_steps) is known exactly, so the decay follows that share.
"""

import math

from heterrec_model.config import TrainConfig


def run_share(train: TrainConfig, *, step: int, rows: int, run_rows: int) -> float:
    """Share of the run that is done, 0 to 1, by rows or by `max_steps`, whichever is larger.

    Args:
        train: `max_steps`.
        step: optimiser steps done.
        rows: training rows read in all epochs, over all ranks.
        run_rows: rows of all epochs.
    """
    by_rows = rows / run_rows if run_rows else 0.0
    by_steps = step / train.max_steps if train.max_steps else 0.0
    return min(1.0, max(by_rows, by_steps))


def rate_factor(train: TrainConfig, *, step: int, share: float, warm_share: float) -> float:
    """Factor of the learning rate at a step, 0 to 1.

    Args:
        train: `warmup_steps` and `schedule`.
        step: optimiser steps done before this one.
        share: share of the run done before this step.
        warm_share: share of the run done when the warm-up ended.
    """
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    if train.schedule == "constant":
        return 1.0
    rest = 1.0 - warm_share
    left = (1.0 - share) / rest if rest > 0 else 0.0
    return left if train.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
