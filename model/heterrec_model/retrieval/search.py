"""Search for the best items, exact or by an index, with filters."""

from collections.abc import Sequence

from heterrec_model.retrieval.exact import Floats, Ints, TopItems, exact_top


class Searcher:
    """Finds the best items of a catalogue for user vectors.

    Args:
        items_ND: vectors of the catalogue, float32 [N, D].
    """

    def __init__(self, items_ND: Floats) -> None:
        self.items_ND = items_ND

    def top(
        self,
        users_BD: Floats,
        k: int,
        *,
        allowed: Ints | None = None,
        hidden: Sequence[Ints] | None = None,
    ) -> TopItems:
        """The k best items of every user: see `exact_top`."""
        return exact_top(users_BD, self.items_ND, k, allowed=allowed, hidden=hidden)
