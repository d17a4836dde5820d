"""Which of two results is better, and how sure that is: a paired bootstrap over users.

Users are drawn with replacement, the same ones for both sides; a user's metric is the mean over the seeds of a side.

Shapes: U users, M metrics, R resamples, r of them at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import Floats, Part, metric_names
from heterrec_schemas.errors import CallError, suggest

_CELLS = 2**23
"""Drawn users held at a time: bounds memory to a few times 64 MB."""


@dataclass(frozen=True)
class Comparison:
    """One metric of two sides on the same users.

    Attributes:
        metric: such as ndcg@50.
        part: all, warm or cold targets.
        users: how many were compared.
        baseline: mean of the side compared against.
        candidate: mean of the other side.
        difference: candidate - baseline.
        difference_interval: of the difference: percentiles of the resamples.
        lift: candidate / baseline - 1; None where the baseline is 0.
        lift_interval: of the lift; None where the baseline is 0 in a resample.
        p: two-sided: twice the share of resamples on the other side of 0, at least 2 / (resamples + 1), at most 1.
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

    def to_json(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return asdict(self)


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
    """Compare two sides on the same users.

    Args:
        baseline: the side compared against: an evaluation, or one for each of several seeds.
        candidate: the other side.
        metrics: which; left out: all that both sides have.
        part: of the targets: all, warm or cold.
        resamples: R, at least 1.
        seed: of the resampling.
        level: of the intervals.

    Returns:
        A comparison a metric.

    Raises:
        CallError: the sides are not about the same users of the same generation and split, filtered alike; a metric is
            unknown; the part has no targets; a number is out of range.
    """
    sides = [
        [side] if isinstance(side, Evaluation) else list(side) for side in (baseline, candidate)
    ]
    _check(sides, resamples, level)
    names = _names(sides, metrics)
    users = _users(sides, part)
    baseline_UM, candidate_UM = (_side(side, names, part) for side in sides)
    difference_RM, baseline_RM, candidate_RM = _resample(baseline_UM, candidate_UM, resamples, seed)
    tail = 50 * (1 - level)
    return [
        _comparison(
            name,
            part,
            users,
            (baseline_UM[:, m], candidate_UM[:, m]),
            difference_RM[:, m],
            (baseline_RM[:, m], candidate_RM[:, m]),
            (tail, 100 - tail),
        )
        for m, name in enumerate(names)
    ]


def _check(sides: Sequence[Sequence[Evaluation]], resamples: int, level: float) -> None:
    if not all(sides):
        raise CallError("compare", got="no evaluation", expected="at least one a side")
    if resamples < 1:
        raise CallError("resamples", got=resamples, expected="at least 1")
    if not 0 < level < 1:
        raise CallError("level", got=level, expected="a number between 0 and 1")
    first, *others = [evaluation for side in sides for evaluation in side]
    for other in others:
        for what in ("generation", "split", "seen_filtered"):
            if getattr(first, what) != getattr(other, what):
                raise CallError(
                    f"evaluations of different {what} cannot be compared",
                    got=f"{getattr(first, what)} and {getattr(other, what)}",
                )


def _names(sides: Sequence[Sequence[Evaluation]], metrics: Sequence[str] | None) -> list[str]:
    """The metrics to compare, in the order asked for."""
    every = [set(metric_names(evaluation.ks)) for side in sides for evaluation in side]
    common = [name for name in metric_names(sides[0][0].ks) if all(name in e for e in every)]
    for name in metrics or ():
        if name not in common:
            raise CallError(
                f"there is no metric {name!r} on both sides", todo=suggest(name, common)
            )
    return list(metrics) if metrics is not None else common


def _users(sides: Sequence[Sequence[Evaluation]], part: Part) -> int:
    """How many users have targets in a part: the same ones on both sides."""
    first, *others = [np.sort(e.per_user.part(part).user_ids) for side in sides for e in side]
    for other in others:
        if not np.array_equal(first, other):
            raise CallError(
                "evaluations of different users cannot be compared",
                got=f"{len(first):,} and {len(other):,} users",
                todo="Evaluate both sides with the same max_users.",
            )
    if not len(first):
        raise CallError("compare", got=f"no user with {part} targets", expected="at least one")
    return len(first)


def _side(side: Sequence[Evaluation], names: Sequence[str], part: Part) -> Floats:
    """The metrics of every user, the users sorted by their ids, averaged over the evaluations: [U, M]."""
    total: Floats | None = None
    for evaluation in side:
        ids = evaluation.per_user.part(part).user_ids
        values = evaluation.user_metrics(part)
        columns_UM = np.stack([values[name] for name in names], axis=1)[np.argsort(ids)]
        total = columns_UM if total is None else total + columns_UM
    assert total is not None, "a side has an evaluation"
    return total / len(side)


def _resample(
    baseline_UM: Floats, candidate_UM: Floats, resamples: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Means over drawn users: of the difference, the baseline and the candidate, [R, M] each."""
    values = np.concatenate([candidate_UM - baseline_UM, baseline_UM, candidate_UM], axis=1)
    means = np.concatenate([w_rU @ values for w_rU in _weights(len(values), resamples, seed)])
    difference_RM, baseline_RM, candidate_RM = np.split(means, 3, axis=1)
    return difference_RM, baseline_RM, candidate_RM


def _weights(users: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each resample drew each user, over U: [r, U] at a time, whatever the number of users."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn_rU = rng.integers(0, users, size=(rows, users))
        drawn_rU += np.arange(rows)[:, None] * users
        counts = np.bincount(drawn_rU.ravel(), minlength=rows * users)
        yield counts.reshape(rows, users) / users


def _comparison(
    name: str,
    part: Part,
    users: int,
    values: tuple[Floats, Floats],
    difference_R: Floats,
    sides_R: tuple[Floats, Floats],
    percentiles: tuple[float, float],
) -> Comparison:
    baseline, candidate = (float(v.mean()) for v in values)
    baseline_R, candidate_R = sides_R
    below, above = (np.count_nonzero(x) for x in (difference_R <= 0, difference_R >= 0))
    lifts_R = candidate_R / baseline_R - 1 if np.all(baseline_R > 0) else None
    return Comparison(
        metric=name,
        part=part,
        users=users,
        baseline=baseline,
        candidate=candidate,
        difference=candidate - baseline,
        difference_interval=_interval(difference_R, percentiles),
        lift=candidate / baseline - 1 if baseline > 0 else None,
        lift_interval=None if lifts_R is None else _interval(lifts_R, percentiles),
        p=min(1.0, 2 * (min(below, above) + 1) / (len(difference_R) + 1)),
    )


def _interval(
    values_R: npt.NDArray[np.float64], percentiles: tuple[float, float]
) -> tuple[float, float]:
    low, high = np.percentile(values_R, percentiles)
    return float(low), float(high)
