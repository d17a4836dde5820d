"""The validation that decides which checkpoint is best."""

from collections.abc import Callable

from heterrec_model.config import Config
from heterrec_model.evaluation.evaluate import evaluate_model
from heterrec_model.evaluation.metrics import metric_names
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.generation import Generation

OnProgress = Callable[[int, int], None]
"""Called with the number of users ranked so far and the number of all users."""
Validate = Callable[[OnProgress], dict[str, float]]
"""Returns the validation metrics by name."""


def check_metric(config: Config) -> None:
    """Check that the evaluation computes `train.metric`, before training starts.

    Raises:
        CallError: it does not.
    """
    metric, known = config.train.metric, metric_names(config.evaluation.ks)
    if metric not in known:
        raise CallError("train.metric", got=repr(metric), todo=suggest(metric, known))


def validation(model: TwoTowerModel, generation: Generation, config: Config) -> Validate | None:
    """A function that validates the model; None if the validation split has no users."""
    users = generation.manifest.counts.sequences.get("validation", 0)
    if not users:
        return None
    most = config.train.validate_users
    users = users if most is None else min(users, most)

    def validate(on_progress: OnProgress) -> dict[str, float]:
        result = evaluate_model(
            model,
            generation,
            "validation",
            config,
            max_users=most,
            on_progress=lambda done: on_progress(done, users),
        )
        return {name: float(value) for name, value in result.metrics.items() if value is not None}

    return validate
