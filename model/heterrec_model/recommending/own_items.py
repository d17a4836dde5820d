"""The repeat term without PyTorch: see `loss/repeat_term.py`, whose weights it reads from a bundle or a run.

Shapes: B users, T items of a history, P own items of a user, N items of the catalogue, D width of u and v, F numbers of f.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.files import REPEAT_TERM, REPEAT_TERM_POPULARITY
from heterrec_model.bundle.reader import Bundle
from heterrec_model.recommending.catalogue import Catalogue
from heterrec_model.recommending.history import EncodedHistory
from heterrec_schemas.values import MS_PER_DAY

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RepeatScores:
    """Scores of the items of a history.

    Attributes:
        weights: inner.weight [H, 5], inner.bias [H], outer.weight [1, H], outer.bias [1] and of_item [D, F]; centres [5],
            scale, similarity and temperature (one number each).
        popularity_N: number of training interactions of every item of the catalogue.
    """

    weights: Mapping[str, Floats]
    popularity_N: Ints

    def of(
        self, history: EncodedHistory, user_D: Floats, items_ND: Floats, catalogue: Catalogue
    ) -> tuple[Ints, Floats]:
        """The own items with a row in the catalogue.

        Args:
            history: with at least one item.
            user_D: the user vector.
            items_ND: vectors of the catalogue.
            catalogue: the items.

        Returns:
            Their rows, ascending, and their scores: [P].
        """
        item_P, first_P, count_P = np.unique(
            history.item_T[::-1], return_index=True, return_counts=True
        )
        weights, length = self.weights, len(history.item_T)
        listed_P = catalogue.are_listed(item_P)
        row_P = catalogue.positions_of_index(item_P)
        count_P, since_P = count_P[listed_P], 1 + first_P[listed_P]
        gap_ms_P = history.time_T[-1] - history.time_T[length - since_P]
        gap_P = gap_ms_P.astype(np.float32) / np.float32(MS_PER_DAY)
        counts = (count_P, np.full_like(count_P, length), since_P, gap_P, self.popularity_N[row_P])
        logarithms_P5 = np.log1p(np.stack([x.astype(np.float32) for x in counts], axis=1))
        centred_P5 = (logarithms_P5 - weights["centres"]) / weights["scale"]
        hidden_PH = np.maximum(centred_P5 @ weights["inner.weight"].T + weights["inner.bias"], 0)
        shared_P = hidden_PH @ weights["outer.weight"][0] + weights["outer.bias"]
        own_PD = items_ND[row_P]
        width = len(weights["of_item"])
        weights_PF = own_PD[:, :width] @ weights["of_item"]
        numbers_PF = np.stack([np.ones_like(gap_P), *logarithms_P5.T[[0, 3]]], axis=1)
        term_P = shared_P + (numbers_PF * weights_PF).sum(axis=1)
        score_P = weights["similarity"] * (own_PD @ user_D) + weights["temperature"] * term_P
        order = np.argsort(row_P)
        return row_P[order], score_P[order].astype(np.float32)


def open_repeat_scores(bundle: Bundle) -> RepeatScores | None:
    """The repeat term of a bundle; None if its model has none.

    Raises:
        BundleError: a file cannot be read.
    """
    if not bundle.info.repeats:
        return None
    flat = bundle.array(REPEAT_TERM, np.float32, (None,))
    weights, start = {}, 0
    for name, shape in bundle.info.repeats.items():
        size = int(np.prod(shape))
        weights[name] = np.asarray(flat[start : start + size]).reshape(shape)
        start += size
    popularity_N = bundle.array(REPEAT_TERM_POPULARITY, np.int64, (bundle.info.items,))
    return RepeatScores(weights, popularity_N)
