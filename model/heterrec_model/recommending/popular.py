"""Popular items, for users without a history.

Shapes: N items of the catalogue, K items of an answer.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_model.recommending.catalogue import Catalogue

Ints = npt.NDArray[np.int64]


class PopularItems:
    """The items in the order of their number of interactions, for all users and for each segment.

    Args:
        table: segment (text; null: all users), item_index, count; best first inside a segment.
        catalogue: of the items; others are left out.

    Attributes:
        counts_N: number of interactions of each item with all users, int64 [N].
    """

    def __init__(self, table: pa.Table, catalogue: Catalogue) -> None:
        self._orders: dict[str | None, tuple[Ints, Ints]] = {}
        whole = table.filter(pc.is_null(table["segment"]))
        self.counts_N = self._counts(whole, catalogue)
        overall = np.argsort(-self.counts_N, kind="stable")
        self._orders[None] = overall, self.counts_N
        for name in pc.unique(table["segment"]).drop_null().to_pylist():
            own = self._counts(table.filter(pc.equal(table["segment"], name)), catalogue)
            # Items that nobody of the segment had follow in the order of all users.
            order = overall[np.argsort(-own[overall], kind="stable")]
            self._orders[name] = order, own

    @staticmethod
    def _counts(table: pa.Table, catalogue: Catalogue) -> Ints:
        counts_N = np.zeros(len(catalogue), np.int64)
        index = table["item_index"].to_numpy()
        place = np.searchsorted(catalogue.item_index_N, index)
        place = np.minimum(place, max(len(catalogue) - 1, 0))
        inside = catalogue.item_index_N[place] == index
        counts_N[place[inside]] = table["count"].to_numpy()[inside]
        return counts_N

    @property
    def segments(self) -> list[str]:
        """Names of the segments."""
        return [name for name in self._orders if name is not None]

    def top(
        self, segment: str | None, k: int, allowed_N: npt.NDArray[np.bool_] | None, hidden: Ints
    ) -> tuple[Ints, Ints]:
        """Positions and counts of the k most popular allowed items of a segment; an unknown segment stands for all users."""
        order, counts = self._orders.get(segment, self._orders[None])
        usable = np.ones(len(order), np.bool_) if allowed_N is None else allowed_N.copy()
        usable[hidden] = False
        best = order[usable[order]][:k]
        return best, counts[best]
