"""Result of a training run, and the callbacks of a trainer."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run: its folder.
        step: optimiser steps done.
        epoch: epochs done.
        best_metric: the best value of `train.metric`; None without a validation.
        best_step: where it was reached.
        metrics: of the best validation, by name.
        stopped: the signal that stopped the run before its end, or None.
        seconds: that this call took.
        main: whether this process is the one of several that writes and prints.
    """

    run: Path
    step: int
    epoch: int
    best_metric: float | None
    best_step: int | None
    metrics: dict[str, float]
    stopped: str | None
    seconds: float
    main: bool = True

    def to_json(self) -> dict[str, Any]:
        """What `train --json` prints."""
        body = asdict(self)
        del body["main"]
        return {**body, "run": str(self.run), "seconds": round(self.seconds, 3)}


OnProgress = Callable[[int, int], None]


Validate = Callable[[OnProgress], dict[str, float]]
