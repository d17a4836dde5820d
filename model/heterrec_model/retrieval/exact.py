"""The best items by exact search.

Shapes: B users, N items, D width, K number of answers, H hidden items of a user.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NONE = -1
"""Position where there are fewer than K answers; its score is -inf."""


@dataclass(frozen=True, eq=False)
class TopItems:
    """The best items of some users.

    Attributes:
        position_BK: rows of the item vectors, int64, best first; items of equal score in their order; NONE where fewer.
        score_BK: their dot products, float32; -inf where fewer.
    """

    position_BK: Ints
    score_BK: Floats


def exact_top(
    users_BD: Floats,
    items_ND: Floats,
    k: int,
    *,
    allowed: Ints | None = None,
    hidden: Sequence[Ints] | None = None,
) -> TopItems:
    """The k best items of every user.

    Args:
        users_BD: user vectors.
        items_ND: item vectors.
        k: number of items.
        allowed: rows of the items that may be found, ascending; None allows all.
        hidden: for every user, rows that are left out, in any order.
    """
    kept_ND = items_ND if allowed is None else items_ND[allowed]
    scores_BN = users_BD @ kept_ND.T
    for row, positions in enumerate(hidden or ()):
        if allowed is None:
            scores_BN[row, positions] = -np.inf
        else:
            place = np.searchsorted(allowed, positions)
            inside = place < len(allowed)
            inside[inside] = allowed[place[inside]] == positions[inside]
            scores_BN[row, place[inside]] = -np.inf
    order_BK = np.argsort(-scores_BN, axis=1, kind="stable")[:, :k]
    score_BK = np.take_along_axis(scores_BN, order_BK, axis=1)
    position_BK = order_BK if allowed is None else allowed[order_BK]
    position_BK = np.where(np.isneginf(score_BK), NONE, position_BK)
    missing = k - position_BK.shape[1]
    if missing > 0:
        position_BK = np.pad(position_BK, ((0, 0), (0, missing)), constant_values=NONE)
        score_BK = np.pad(score_BK, ((0, 0), (0, missing)), constant_values=-np.inf)
    return TopItems(position_BK.astype(np.int64), score_BK.astype(np.float32))
