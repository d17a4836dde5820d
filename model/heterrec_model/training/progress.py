"""Progress of a run, as plain JSON values, and its result."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heterrec_model.config import TrainConfig
from heterrec_model.training.gate_watch import GateWatch


@dataclass
class Progress:
    """State of the loop besides weights, optimisers and position in the data; equal on every rank.

    Attributes:
        step: optimiser steps done.
        epoch: epochs done.
        rows: training rows read in all epochs, over all ranks.
        warm_share: share of the run done when the warm-up ended.
        terms: names of the loss terms of the first step.
        best: best value of the validation metric.
        best_step: step at which it was reached.
        best_metrics: all metrics of that validation.
        bad_validations: validations since then.
        validated_step: step of the last validation.
        validation_due: a validation was due and has not finished.
        log_bytes: length of metrics.jsonl.
        refit: the last step was in a refit epoch, which trains on the validation split.
        gates: the gates of Eq. 11.
        training_seconds: wall time of the steps and their data, without set-up, validations and checkpoints.
        cpu_seconds: CPU time of this process for them.
    """

    step: int = 0
    epoch: int = 0
    rows: int = 0
    warm_share: float = 0.0
    terms: list[str] | None = None
    best: float | None = None
    best_step: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    bad_validations: int = 0
    validated_step: int | None = None
    validation_due: bool = False
    log_bytes: int = 0
    refit: bool = False
    gates: GateWatch = field(default_factory=GateWatch)
    training_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of the block to the seconds of training."""
        wall, cpu = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            self.training_seconds += time.monotonic() - wall
            self.cpu_seconds += time.process_time() - cpu

    def __post_init__(self) -> None:
        if isinstance(self.gates, dict):  # of a checkpoint
            self.gates = GateWatch(**self.gates)

    def note_validation(self, metrics: dict[str, float], metric: str | None) -> bool:
        """Record a validation; returns whether it is the best so far.

        `metric` is the deciding one; None if nothing was validated: the newest step is then the best.
        """
        self.validated_step, self.validation_due = self.step, False
        value = None if metric is None else metrics[metric]
        if value is not None and self.best is not None and not value > self.best:
            self.bad_validations += 1
            return False
        self.best, self.best_step = value, self.step
        self.best_metrics = dict(metrics) or self.best_metrics
        self.bad_validations = 0
        return True


def is_finished(train: TrainConfig, progress: Progress) -> bool:
    """Whether a run has reached its end: of its epochs or steps, or by early stopping."""
    return (
        progress.epoch >= train.epochs + train.refit_epochs
        or (train.max_steps is not None and progress.step >= train.max_steps)
        or (train.patience is not None and progress.bad_validations >= train.patience)
    )


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    Attributes:
        run: folder of the run.
        step: optimiser steps done.
        epoch: epochs done.
        best_metric: best value of `train.metric`; None without a validation.
        best_step: step at which it was reached.
        metrics: all metrics of the best validation, by name.
        stuck_gates: by gate, `closed` or `open`: gates that were nearly always so in the last steps, see `gate_watch`.
        stopped: name of the signal that stopped the run early, or None.
        warm_start: the run, checkpoint and generation that the run was started from, or None.
        seconds: duration of the call.
        training_seconds: wall time of all steps done, see `Progress`; those of earlier calls included.
        cpu_seconds: CPU time of the main process for them.
        main: whether this process is the one that writes and prints.
    """

    run: Path
    step: int
    epoch: int
    best_metric: float | None
    best_step: int | None
    metrics: dict[str, float]
    stuck_gates: dict[str, str]
    stopped: str | None
    warm_start: dict[str, Any] | None
    seconds: float
    training_seconds: float = 0.0
    cpu_seconds: float = 0.0
    main: bool = True

    def to_json(self) -> dict[str, Any]:
        """The output of `train --json`."""
        body = asdict(self)
        del body["main"]
        times = ("seconds", "training_seconds", "cpu_seconds")
        return {**body, "run": str(self.run)} | {name: round(body[name], 3) for name in times}
