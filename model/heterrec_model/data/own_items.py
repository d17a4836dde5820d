"""The distinct items of histories, with how often, how long ago and how many interactions ago each was seen.

Shapes: B users, E items of all histories, P pairs of a user and an item.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.data.batch import HistoryItems


@dataclass(frozen=True, eq=False)
class OwnItems:
    """Distinct pairs of a user and an item of its history, sorted by user, then by item.

    Attributes:
        user_P: row of the batch, int64.
        item_P: item_index, int64.
        count_P: number of occurrences, int64.
        length_P: number of interactions of the history, int64.
        since_P: number of interactions from the last occurrence to the end of the history, both included, int64.
        last_ms_P: time of the last occurrence, milliseconds since 1970, int64.
        gap_ms_P: time from the last occurrence to the end of the history, milliseconds, int64.
    """

    user_P: Tensor
    item_P: Tensor
    count_P: Tensor
    length_P: Tensor
    since_P: Tensor
    last_ms_P: Tensor
    gap_ms_P: Tensor

    def where(self, chosen_P: Tensor | slice) -> "OwnItems":
        """The pairs selected by a mask or a slice."""
        return OwnItems(*(column_P[chosen_P] for column_P in vars(self).values()))


def own_items(history: HistoryItems) -> tuple[OwnItems, Tensor]:
    """The own items of some histories, and the pair of every item of them, [E].

    Items of a history are in the order of time; later ones of equal times count as later.
    """
    user_E, item_E, time_E = history.user_E, history.item_E, history.timestamp_E
    width = int(item_E.max()) + 1 if len(item_E) else 1
    key_P, pair_E = torch.unique(user_E * width + item_E, return_inverse=True)
    user_P = torch.div(key_P, width, rounding_mode="floor")
    place_E = torch.arange(len(item_E), device=item_E.device)
    last_P = torch.zeros_like(key_P).scatter_reduce_(0, pair_E, place_E, "amax", include_self=False)
    users = int(user_E.max()) + 1 if len(user_E) else 0
    length_B = torch.bincount(user_E, minlength=users)
    end_B = length_B.cumsum(0)
    last_ms_P = time_E[last_P]
    own = OwnItems(
        user_P=user_P,
        item_P=key_P % width,
        count_P=torch.bincount(pair_E, minlength=len(key_P)),
        length_P=length_B[user_P],
        since_P=end_B[user_P] - last_P,
        last_ms_P=last_ms_P,
        gap_ms_P=time_E[end_B[user_P] - 1] - last_ms_P,
    )
    return own, pair_E
