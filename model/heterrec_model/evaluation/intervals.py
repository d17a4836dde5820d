"""Paired bootstrap over users: differences of two models with intervals and p-values.

Users are drawn with replacement, the same ones for both models; the metric of a user is the mean over the seeds of a model.

Shapes: U users, M metrics, R resamples, r resamples at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import Floats, Part, metric_names
from heterrec_schemas.errors import CallError, suggest

MOST_RESAMPLES = 1_000_000
"""Maximum number of resamples: more change no digit that is shown."""
_CELLS = 2**23
"""Maximum number of drawn users in memory: bounds it to a few times 64 MB."""


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same users.

    Attributes:
        metric: such as ndcg@50.
        part: all, warm or cold targets.
        users: number of users.
        baseline: mean of the baseline.
        candidate: mean of the candidate.
        difference: candidate - baseline.
        difference_interval: percentiles of the difference over the resamples.
        lift: candidate / baseline - 1; None if the baseline is 0.
        lift_interval: percentiles of the lift; None if the baseline is 0 in a resample.
        p: two-sided: twice the share of resamples on the other side of 0, from 2 / (resamples + 1) to 1.
    """

    metric: str
    part: Part
    users: int
    baseline: float
    candidate: float
    difference: float
    difference_interval: tuple[float, float]
    lift: float | None
    lift_interval: tuple[float, float] | None
    p: float


def compare(
    baseline: Evaluation | Sequence[Evaluation],
    candidate: Evaluation | Sequence[Evaluation],
    *,
    metrics: Sequence[str] | None = None,
    part: Part = "all",
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Comparison]:
    """Compare two models on the same users.

    Args:
        baseline: an evaluation, or one per seed.
        candidate: the other model, likewise.
        metrics: names of the metrics; None compares all common ones.
        part: of the targets: all, warm or cold.
        resamples: R, 1 to MOST_RESAMPLES.
        seed: of the resampling.
        level: of the intervals.

    Returns:
        One comparison per metric.

    Raises:
        CallError: the evaluations differ in users, generation, split or filter; a metric is unknown; the part has no
            targets; a number is out of range.
    """
    models = [[m] if isinstance(m, Evaluation) else list(m) for m in (baseline, candidate)]
    _check(models, resamples, level)
    names = _names(models, metrics)
    _check_users(models, part)
    baseline_UM, candidate_UM = (_user_means(model, names, part) for model in models)
    values = np.concatenate([candidate_UM - baseline_UM, baseline_UM, candidate_UM], axis=1)
    means = np.concatenate([w_rU @ values for w_rU in _weights(len(values), resamples, seed)])
    resampled = zip(*(x_RM.T for x_RM in np.split(means, 3, axis=1)), strict=True)
    tail = 50 * (1 - level)

    def interval(values_R: Floats) -> tuple[float, float]:
        low, high = np.percentile(values_R, (tail, 100 - tail))
        return float(low), float(high)

    comparisons = []
    for m, (name, (difference_R, baseline_R, candidate_R)) in enumerate(
        zip(names, resampled, strict=True)
    ):
        base, other = float(baseline_UM[:, m].mean()), float(candidate_UM[:, m].mean())
        below, above = (np.count_nonzero(x) for x in (difference_R <= 0, difference_R >= 0))
        positive = bool(np.all(baseline_R > 0))
        comparisons.append(
            Comparison(
                metric=name,
                part=part,
                users=len(values),
                baseline=base,
                candidate=other,
                difference=other - base,
                difference_interval=interval(difference_R),
                lift=other / base - 1 if base > 0 else None,
                lift_interval=interval(candidate_R / baseline_R - 1) if positive else None,
                p=min(1.0, 2 * (min(below, above) + 1) / (len(difference_R) + 1)),
            )
        )
    return comparisons


def _check(models: Sequence[Sequence[Evaluation]], resamples: int, level: float) -> None:
    if not all(models):
        raise CallError("compare", got="no evaluation", expected="at least one per model")
    if not 1 <= resamples <= MOST_RESAMPLES:
        raise CallError("resamples", got=resamples, expected=f"1 to {MOST_RESAMPLES:,}")
    if not 0 < level < 1:
        raise CallError("level", got=level, expected="a number between 0 and 1")
    first, *others = [evaluation for model in models for evaluation in model]
    for other in others:
        for what in ("generation", "split", "seen_filtered", "candidate_set"):
            if getattr(first, what) != getattr(other, what):
                raise CallError(
                    f"evaluations of different {what} cannot be compared",
                    got=f"{getattr(first, what)} and {getattr(other, what)}",
                )


def _names(models: Sequence[Sequence[Evaluation]], metrics: Sequence[str] | None) -> list[str]:
    """The metrics to compare, in the given order."""
    known = [set(metric_names(evaluation.ks)) for model in models for evaluation in model]
    common = [name for name in metric_names(models[0][0].ks) if all(name in k for k in known)]
    for name in metrics or ():
        if name not in common:
            raise CallError(
                f"metric {name!r} is not in all evaluations", todo=suggest(name, common)
            )
    return list(metrics) if metrics is not None else common


def _check_users(models: Sequence[Sequence[Evaluation]], part: Part) -> None:
    """Check that all evaluations have the same users with targets in a part."""
    first, *others = [np.sort(e.per_user.part(part).user_ids) for m in models for e in m]
    for other in others:
        if not np.array_equal(first, other):
            raise CallError(
                "evaluations of different users cannot be compared",
                got=f"{len(first):,} and {len(other):,} users",
                todo="Evaluate both models with the same max_users.",
            )
    if not len(first):
        raise CallError("compare", got=f"no user with {part} targets", expected="at least one")


def _user_means(model: Sequence[Evaluation], names: Sequence[str], part: Part) -> Floats:
    """Metrics of every user, sorted by id, averaged over the evaluations: [U, M]."""
    total: Floats | None = None
    for evaluation in model:
        ids = evaluation.per_user.part(part).user_ids
        values = evaluation.user_metrics(part)
        columns_UM = np.stack([values[name] for name in names], axis=1)[np.argsort(ids)]
        total = columns_UM if total is None else total + columns_UM
    assert total is not None, "a model has an evaluation"
    return total / len(model)


def _weights(users: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each resample drew each user, divided by U: [r, U] at a time, whatever the number of users."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn_rU = rng.integers(0, users, size=(rows, users))
        drawn_rU += np.arange(rows)[:, None] * users
        counts = np.bincount(drawn_rU.ravel(), minlength=rows * users)
        yield counts.reshape(rows, users) / users
