"""Where a run stands, besides its weights, its optimiser and its place in the data: plain values that JSON can hold."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Counters and memory of the loop; equal on every rank.

    Attributes:
        step: optimiser steps done.
        epoch: epochs done.
        rows: training rows read in all epochs, over all ranks.
        warm_share: share of the run that was done when the warm-up ended.
        terms: the loss terms that the first step had.
        best: the best value of the validation metric, and where.
        best_step: the step that it was reached at.
        best_metrics: all metrics of that validation.
        bad_validations: validations since then.
        validated_step: the step of the last validation.
        validation_due: a validation was due and has not been finished.
        log_bytes: length of metrics.jsonl.
        refit: the last step was one of the refit, which trains on the validation split.
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

    def note_validation(self, metrics: dict[str, float], metric: str | None) -> bool:
        """Take in a validation's result; True if it is the best so far.

        Args:
            metrics: by name.
            metric: the one that decides; None where there is nothing to validate on: the newest is best then.
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

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Progress":
        """The progress that a checkpoint's state.json holds."""
        return cls(**body)
