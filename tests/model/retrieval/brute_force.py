"""Exact search as one sort, over scores without rounding errors."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heterrec_model.retrieval.exact import NONE, Floats, Ints, TopItems


def whole_numbers(rows: int, width: int, seed: int, spread: int = 3) -> Floats:
    """Vectors whose dot products are exact in float32 and often equal."""
    random = np.random.default_rng(seed)
    return random.integers(-spread, spread + 1, (rows, width)).astype(np.float32)


def brute_force(
    users_BD: Floats,
    items_ND: Floats,
    k: int,
    allowed: Ints | None = None,
    hidden: Sequence[Ints] | None = None,
) -> TopItems:
    position_BK = np.full((len(users_BD), k), NONE, np.int64)
    score_BK = np.full((len(users_BD), k), -np.inf, np.float32)
    for row, user_D in enumerate(users_BD):
        usable = np.zeros(len(items_ND), bool)
        usable[slice(None) if allowed is None else allowed] = True
        if hidden is not None:
            usable[hidden[row]] = False
        positions = np.flatnonzero(usable)
        scores = items_ND[positions] @ user_D
        order = np.argsort(-scores, kind="stable")[:k]
        position_BK[row, : len(order)] = positions[order]
        score_BK[row, : len(order)] = scores[order]
    return TopItems(position_BK, score_BK)


def recall(
    found_BK: Ints, users_BD: Floats, items_ND: Floats, best: TopItems
) -> npt.NDArray[np.float64]:
    """Share of the best items of each user that are found; those of equal score count as the same."""
    shares = []
    for row, found in enumerate(found_BK):
        real = int((best.position_BK[row] != NONE).sum())
        if real:
            scores = items_ND[found[found != NONE]] @ users_BD[row]
            least = best.score_BK[row, real - 1]
            shares.append((scores >= least - 1e-5 * abs(least)).sum() / real)
    return np.asarray(shares)
