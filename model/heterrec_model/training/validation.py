"""The validation that decides which checkpoint is best."""

from heterrec_model.config import Config
from heterrec_model.evaluation.evaluate import evaluate_model
from heterrec_model.training.result import OnProgress, Validate
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.generation import Generation


def check_metric(config: Config) -> None:
    """Refuse a `train.metric` that the evaluation does not give, before anything is trained.

    Raises:
        CallError: there is no such metric.
    """
    known = [f"{name}@{k}" for name in ("recall", "ndcg") for k in config.evaluation.ks]
    if config.train.metric not in known:
        raise CallError(
            "train.metric", got=repr(config.train.metric), todo=suggest(config.train.metric, known)
        )


def validation(model: TwoTowerModel, generation: Generation, config: Config) -> Validate | None:
    """The metrics of the validation split by name; None where it has no user."""
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
