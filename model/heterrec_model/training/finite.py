"""Stops a run whose loss is no longer a loss, naming the step, the term and the users."""

import math
from collections.abc import Mapping, Sequence

from heterrec_schemas.errors import RunError

_SHOWN = 5
_TODO = (
    "The weights are still those before this step. Look at these users' histories; a lower train.learning_rate, a "
    "longer warm-up, train.clip_norm or train.precision=float32 may help."
)


def check_terms(
    total: float,
    terms: Mapping[str, float],
    expected: Sequence[str] | None,
    *,
    step: int,
    users: Sequence[str | int],
) -> None:
    """Refuse a loss with a term that is absent or not finite.

    Args:
        total: the loss.
        terms: its terms.
        expected: the terms of the first step; None if this is the first.
        step: the step that is being made, from 1.
        users: of the batch.

    Raises:
        RunError: a term is absent, or it or the total is NaN or infinite.
    """
    absent = [name for name in expected or () if name not in terms]
    if absent:
        raise _error(
            f"step {step}: the loss lacks {_listed(absent)}, which the first step had", users
        )
    bad = [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]
    if not bad and not math.isfinite(total):
        bad = [f"the total = {total}"]
    if bad:
        raise _error(f"step {step}: the loss is not finite: {_listed(bad)}", users)


def check_norm(norm: float, bad: Sequence[str], *, step: int, users: Sequence[str | int]) -> None:
    """Refuse gradients that are not finite.

    Args:
        norm: of all gradients.
        bad: the parameters with a gradient that is not finite, looked for when the norm is not.
        step: the step that is being made, from 1.
        users: of the step's batches.

    Raises:
        RunError: the norm is NaN or infinite.
    """
    if not math.isfinite(norm):
        names = _listed(bad) if bad else "their norm overflows"
        raise _error(f"step {step}: the gradients are not finite ({norm}): {names}", users)


def _error(what: str, users: Sequence[str | int]) -> RunError:
    return RunError(f"{what}; users of the batch: {_listed([str(u) for u in users])}", todo=_TODO)


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
