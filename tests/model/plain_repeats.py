"""The repeat term of one item of one history, plainly."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heterrec_model.loss.repeat_term import RepeatTerm

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
    total = 0.0
    for table, row in (
        (term.count, count.bit_length() - 1),
        (term.length, len(items).bit_length() - 1),
        (term.since, (len(items) - last).bit_length() - 1),
        (term.gap, sum(edge <= days for edge in term.edges.tolist())),
        (term.popularity, max(popularity.bit_length() - 1, 0)),
    ):
        total += table.tolist()[min(row, len(table) - 1)]
    width = len(term.of_item)
    numbers = torch.tensor([1.0, math.log(1 + count), math.log(1 + days)], dtype=user_D.dtype)
    weights_F = item_D[:width] @ term.of_item + user_D[:width] @ term.of_user
    similar = float((user_D @ item_D).detach()) / term.temperature
    total += float((numbers @ weights_F).detach())
    return total - (1 - term.similarity) * similar
