"""Recommendations from a bundle, without PyTorch.

Shapes: B users, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.encoder import BundleEncoder
from heterrec_model.bundle.files import HISTORIES
from heterrec_model.bundle.histories import Histories, HistoryRow
from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.recommending.catalogue import Catalogue, as_key
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.own_items import open_repeat_scores
from heterrec_model.recommending.popular import PopularItems
from heterrec_model.recommending.recommender import Recommender
from heterrec_model.recommending.translate import Translator
from heterrec_model.retrieval.search import Searcher
from heterrec_model.retrieval.vector_index import open_index

Floats = npt.NDArray[np.float32]


class BundleRecommender(Recommender):
    """A recommender on the files of a bundle.

    Args:
        bundle: an open bundle.
        threads: of onnxruntime.
        with_index: whether its index is used, if it has one.

    Attributes:
        bundle: the bundle.
        encoder: its user tower.
        histories: its histories; None if it was exported without them.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, with_index: bool = True) -> None:
        info = bundle.info
        self.bundle = bundle
        self.catalogue = Catalogue(bundle.items())
        self.searcher = Searcher(bundle.item_vectors_ND, open_index(bundle) if with_index else None)
        self.popular = PopularItems(bundle.popular(), self.catalogue)
        self.repeats = open_repeat_scores(bundle)
        self.identity = info.identity
        self.encoder = BundleEncoder(bundle, threads=threads)
        self.histories: Histories | None = None
        if info.users:
            names = [feature.name for feature in info.user_features]
            self.histories = Histories(bundle.folder / HISTORIES, names)
        self._translator = Translator(
            self.catalogue,
            info.behaviours,
            info.user_features,
            bundle.user_values(),
            info.segment_by,
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        verify: Literal["hashes", "sizes"] = "hashes",
        threads: int = 1,
        with_index: bool = True,
    ) -> Self:
        """Open a bundle and its index, if it has one.

        Raises:
            BundleError: the bundle or its index is unfinished, damaged, or they do not belong together.
        """
        return cls(open_bundle(path, verify=verify), threads=threads, with_index=with_index)

    def encode(self, histories: Sequence[EncodedHistory]) -> Floats:
        """The user vectors, float32 [B, D]."""
        return self.encoder.encode(
            [h.item_T for h in histories],
            [h.time_T for h in histories],
            [h.behaviour_T for h in histories],
            [h.user_features for h in histories],
        )

    def find(self, users: Sequence[Key]) -> list[EncodedHistory | None]:
        """The histories of some users; None for a user without one."""
        return [self._find(user) for user in users]

    def translate(self, history: History) -> EncodedHistory:
        """A caller's history in the ids of the generation.

        Raises:
            CallError: a time, a behaviour or a user feature is wrong.
        """
        return self._translator.history(history)

    def _find(self, user: Key) -> EncodedHistory | None:
        if self.histories is None:
            return None
        key = as_key(user, integral=self.bundle.info.user_id_type == "int64")
        row = None if key is None else self.histories.find(key)
        return None if row is None else encoded(row)


def encoded(row: HistoryRow) -> EncodedHistory:
    """A row of the bundle's histories as a history."""
    return EncodedHistory(
        item_T=row.item_T,
        time_T=row.time_T,
        behaviour_T=row.behaviour_T,
        user_features=row.user_features,
        segment=row.segment,
    )
