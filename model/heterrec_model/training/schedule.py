"""The learning rate over a run: a warm-up counted in steps, then a decay over what is left of the run.

How many steps an epoch has is not known before it is read: batches close by their items, not by their users. What is
known exactly is the share of the rows (or of max_steps) that is done, so the decay follows that share.
"""

import math

from heterrec_model.config import TrainConfig


def run_share(train: TrainConfig, *, step: int, rows: int, run_rows: int) -> float:
    """How much of a run is done, 0 to 1, whichever of its two ends is nearer.

    Args:
        train: `max_steps` is one end.
        step: optimiser steps done.
        rows: training rows read in all epochs, over all ranks.
        run_rows: rows of all epochs, the other end.
    """
    by_rows = rows / run_rows if run_rows else 0.0
    by_steps = step / train.max_steps if train.max_steps else 0.0
    return min(1.0, max(by_rows, by_steps))


def rate_factor(train: TrainConfig, *, step: int, share: float, warm_share: float) -> float:
    """What the learning rate is multiplied with at a step, 0 to 1.

    Args:
        train: `warmup_steps` and `schedule`.
        step: optimiser steps done before this one.
        share: of the run that is done before this step.
        warm_share: of the run that was done when the warm-up ended.
    """
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    if train.schedule == "constant":
        return 1.0
    rest = 1.0 - warm_share
    left = (1.0 - share) / rest if rest > 0 else 0.0
    return left if train.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
