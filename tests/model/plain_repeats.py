"""The repeat term of one item of one history, plainly."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heterrec_model.loss.repeat_term import CENTRES, SCALE, RepeatTerm

Event = tuple[int, int]
"""An item and its time in milliseconds."""
_DAY = 86_400_000


def plain_term(
    term: RepeatTerm,
    history: Sequence[Event],
    item: int,
    popularity: int,
    user_D: Tensor,
    item_D: Tensor,
) -> float:
    """What is added to similarity / tau for an item of the history; the vectors are those of the similarity."""
    items = [i for i, _ in history]
    count, last = items.count(item), max(n for n, i in enumerate(items) if i == item)
    days = (history[-1][1] - history[last][1]) / _DAY
    counts = (count, len(items), len(items) - last, days, popularity)
    x = [(math.log(1 + n) - c) / SCALE for n, c in zip(counts, CENTRES, strict=True)]
    hidden = torch.relu(term.inner(torch.tensor(x, dtype=user_D.dtype)))
    total = float(term.outer(hidden).detach())
    width = len(term.of_item)
    numbers = torch.tensor([1.0, math.log(1 + count), math.log(1 + days)], dtype=user_D.dtype)
    weights_F = item_D[:width] @ term.of_item
    similar = float((user_D @ item_D).detach()) / term.temperature
    total += float((numbers @ weights_F).detach())
    return total - (1 - term.similarity) * similar
