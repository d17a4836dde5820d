"""Listwise Multi-step Prediction and its negatives, slowly: loops over users, places, steps and candidates.

Written from Eq. 8 to 12 and the design's words; shares no code with the package.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Vectors = list[Tensor]
Value = Callable[[int], Hashable]
"""What an item is at a level: two items of equal value are no negatives of each other."""


@dataclass(frozen=True)
class Candidate:
    """One item of the denominators that all positions share; `lender` is a user of the batch, or None."""

    item: int
    log_q: float
    lender: int | None


@dataclass(frozen=True)
class Term:
    """What a step's loss adds up to."""

    total: Tensor
    open: int
    possible: int


def similarity(settings: Any, a: Tensor, b: Tensor) -> Tensor:
    dot = (a * b).sum()
    if settings.similarity == "dot":
        return dot
    return dot / (torch.sqrt((a * a).sum()) * torch.sqrt((b * b).sum()))


def logits(
    settings: Any,
    heads: Sequence[tuple[Tensor, Tensor]],
    outputs: Sequence[Vectors],
    histories: Sequence[Sequence[int]],
    vectors: Mapping[int, Tensor],
) -> dict[tuple[int, int, int], Callable[[int], Tensor]]:
    """Eq. 8 and 9 by (step, user, place): from an item to (W_i u) . v / tau; only where there is a target."""

    def scorer(step: int, j: int, t: int) -> Callable[[int], Tensor]:
        weight, bias = heads[step - 1]
        query = weight @ outputs[j][t] + bias
        return lambda item: similarity(settings, query, vectors[item]) / settings.temperature

    return {
        (step, j, t): scorer(step, j, t)
        for step in range(1, settings.steps + 1)
        for j, history in enumerate(histories)
        for t in range(len(history) - step)
    }


def level_terms(
    settings: Any,
    heads: Sequence[tuple[Tensor, Tensor]],
    outputs: Sequence[Vectors],
    histories: Sequence[Sequence[int]],
    vectors: Mapping[int, Tensor],
    value: Value,
    candidates: Sequence[Candidate] | None,
    *,
    mask_same_user: bool = False,
    first_targets: Sequence[int] | None = None,
) -> list[Term]:
    """Eq. 10 and 11 at one level, a term a step.

    Args:
        settings: similarity, temperature, steps, gate and margin.
        heads: W_i and its bias.
        outputs: the user's side at every place of every user.
        histories: the items.
        vectors: the item's side.
        value: what an item is.
        candidates: shared by all; None takes the other users' items at the target's place, Eq. 9.
        mask_same_user: candidates that a user lent are no negatives of that user.
        first_targets: the place of each user's first item that is a target; None: all are.
    """
    score = logits(settings, heads, outputs, histories, vectors)
    terms = []
    for step in range(1, settings.steps + 1):
        losses, possible = [], 0
        for j, history in enumerate(histories):
            for t in range(len(history) - step):
                if first_targets is not None and t + step < first_targets[j]:
                    continue
                possible += 1
                target = history[t + step]
                positive = score[step, j, t](target)
                if step > 1 and settings.gate:
                    before = score[step - 1, j, t](history[t + step - 1])
                    if not before.exp() > positive.exp() + settings.margin:
                        continue
                if candidates is None:
                    others = [
                        h[t + step] for k, h in enumerate(histories) if k != j and len(h) > t + step
                    ]
                    chosen = [Candidate(item, 0.0, None) for item in others]
                else:
                    chosen = [c for c in candidates if not (mask_same_user and c.lender == j)]
                below = 1 + torch.exp(positive)
                for c in chosen:
                    if value(c.item) != value(target):
                        below = below + torch.exp(score[step, j, t](c.item) - c.log_q)
                losses.append(-torch.log(torch.exp(positive) / below))
        zero = torch.zeros((), dtype=torch.float64)
        terms.append(Term(sum(losses, zero), len(losses), possible))
    return terms


def settled(terms: Sequence[Term], weights: Sequence[float], normalise: str) -> Tensor:
    """Eq. 12: every step's sum, weighted, over the places that have a target, over the open ones among them, or as it is."""

    def divisor(term: Term) -> int:
        return {"possible": term.possible, "open": term.open, "sum": 1}[normalise] or 1

    zero = torch.zeros((), dtype=torch.float64)
    return sum((w * t.total / divisor(t) for t, w in zip(terms, weights, strict=True)), zero)


def log_expected(
    rule: str,
    lent: Sequence[int],
    drawn: Sequence[int],
    counts: Sequence[int],
    pool: Sequence[int],
) -> list[float]:
    """log of how often each candidate was to be expected: those lent by the batch first, then those drawn.

    Args:
        rule: none, mixture (under both sources together) or source (under its own alone, which then counts for its
            share of the denominator: a half where there are two).
        lent: items of the batch.
        drawn: items drawn uniformly from the pool.
        counts: training interactions by item; the batch is taken as drawn from them.
        pool: the items that are drawn from.
    """
    whole = sum(counts)
    share = Counter({item: 1 / len(pool) for item in pool})
    found = []
    for place, item in enumerate([*lent, *drawn]):
        from_batch = len(lent) * counts[item] / whole
        from_pool = len(drawn) * share[item]
        if rule == "none":
            found.append(0.0)
        elif rule == "mixture":
            found.append(math.log(from_batch + from_pool))
        else:
            own = from_batch if place < len(lent) else from_pool
            found.append(math.log(own * (bool(lent) + bool(drawn))))
    return found
