"""Checks that the loss and the gradients are finite."""

import math
from collections.abc import Mapping, Sequence

from heterrec_schemas.errors import RunError

_SHOWN = 5
"""Maximum number of names in a message."""


def check_terms(
    total: float,
    terms: Mapping[str, float],
    expected: Sequence[str] | None,
    *,
    step: int,
    users: Sequence[str | int],
) -> None:
    """Check the loss.

    Args:
        total: the loss.
        terms: its terms.
        expected: terms of the first step; None in the first step.
        step: number of the step, from 1.
        users: of the batch.

    Raises:
        RunError: a term is missing, or a term or the total is NaN or infinite.
    """
    absent = [name for name in expected or () if name not in terms]
    if absent:
        what = f"the loss lacks {_listed(absent)}, which the first step had"
        raise _error(step, what, users)
    bad = [f"{name} = {value}" for name, value in terms.items() if not math.isfinite(value)]
    if not bad and not math.isfinite(total):
        bad = [f"the total = {total}"]
    if bad:
        raise _error(step, f"the loss is not finite: {_listed(bad)}", users)


def check_norm(norm: float, bad: Sequence[str], *, step: int, users: Sequence[str | int]) -> None:
    """Check the norm of all gradients; `bad` names the parameters whose gradient is not finite.

    Raises:
        RunError: the norm is NaN or infinite.
    """
    if not math.isfinite(norm):
        names = _listed(bad) if bad else "their norm overflows"
        raise _error(step, f"the gradients are not finite ({norm}): {names}", users)


def _error(step: int, what: str, users: Sequence[str | int]) -> RunError:
    return RunError(
        f"step {step}: {what}; users of the batch: {_listed([str(u) for u in users])}",
        todo="The weights are those before this step. Check the histories of these users; a lower train.learning_rate, a "
        "longer warm-up, train.clip_norm or train.precision=float32 may help.",
    )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
