"""Intervals over seeds and users together, by the pigeonhole bootstrap.

A model has the metric x_su with seed s = 1 .. S for user u = 1 .. U. Its estimate is the mean over both. Seeds and users are
crossed: every seed was evaluated on every user, so both are drawn independently with replacement (Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics 1(2)):

    m*_r = 1 / (S' U) sum over s in S*_r, u in U*_r of x_su

U*_r are U users, the same ones for all models, so that differences and lifts are paired by user. S*_r are S' = S - 1 seeds of
the model: drawing S of S would understate the variance between seeds by the factor (S - 1) / S, which matters with three
seeds (Rao and Wu 1988, "Resampling inference with complex survey data", JASA 83). With one seed, and for counting baselines,
the interval is over users alone.

Shapes: S seeds, U users, M metrics, R resamples, r resamples at a time, C columns of all models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
RESAMPLES = 2000
LEVEL = 0.95
_CELLS = 2**23
"""Maximum number of drawn users in memory."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; no interval where a value of the resamples is not finite."""

    value: float
    interval: tuple[float, float] | None


def resampled_means(
    models: Mapping[str, Floats], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Floats]:
    """Means over drawn seeds and users.

    Args:
        models: [S, U, M] by model; U and M are equal for all.
        resamples: R.
        seed: of the drawing.

    Returns:
        [R, M] by model.
    """
    columns_UC = np.concatenate(
        [x.transpose(1, 0, 2).reshape(x.shape[1], -1) for x in models.values()], 1
    )
    rng = np.random.default_rng(seed)
    means_RC = np.concatenate(
        [w_rU @ columns_UC for w_rU in _weights(len(columns_UC), resamples, rng)]
    )
    found, start = {}, 0
    for name, x_SUM in models.items():
        seeds, _, metrics = x_SUM.shape
        part_RSM = means_RC[:, start : start + seeds * metrics].reshape(resamples, seeds, metrics)
        start += seeds * metrics
        drawn_RS = rng.integers(0, seeds, size=(resamples, max(seeds - 1, 1)))
        found[name] = np.take_along_axis(part_RSM, drawn_RS[:, :, None], axis=1).mean(axis=1)
    return found


def estimate(value: float, resampled_R: Floats) -> Estimate:
    """A value with the percentiles of its resamples."""
    if not np.isfinite(value) or not np.isfinite(resampled_R).all():
        return Estimate(value, None)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled_R, (tail, 100 - tail))
    return Estimate(value, (float(low), float(high)))


def lift(candidate: float, baseline: float, candidate_R: Floats, baseline_R: Floats) -> Estimate:
    """Candidate / baseline - 1; NaN if the baseline is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(candidate, baseline)) - 1 if baseline else float("nan")
        return estimate(value, candidate_R / baseline_R - 1)


def _weights(users: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each resample drew each user, divided by U: [r, U] at a time."""
    step = max(1, _CELLS // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn_rU = rng.integers(0, users, size=(rows, users))
        drawn_rU += np.arange(rows)[:, None] * users
        counts = np.bincount(drawn_rU.ravel(), minlength=rows * users)
        yield (counts.reshape(rows, users) / users).astype(np.float32)
