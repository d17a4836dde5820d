"""Base class of the baselines without weights.

Shapes: B users, S numbers per user, C items of a catalogue chunk.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.inputs import ITEM_IDS
from heterrec_model.data.token_table import TokenTable, open_token_table, with_delivered_counts
from heterrec_model.data.user_items import AddedScores
from heterrec_schemas.generation import Generation


class CountingBaseline(ABC):
    """Scores the catalogue from interaction counts: needs no training run, and is a `Scorer` of the evaluation.

    Counts the training interactions of a generation, with `refit` also those of the validation split. With a `config`, items
    are warm or cold as for a model of that configuration.

    Attributes:
        popularity_N: number of these interactions of each item of the catalogue, float64.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({ITEM_IDS})
    """The inputs that the scores depend on, by the names of `data.inputs`."""

    def __init__(
        self, generation: Generation, *, refit: bool = False, config: Config | None = None
    ) -> None:
        table = open_token_table(generation, features=(), user_features=(), refit=refit)
        self.popularity_N = table.train_count_I[table.catalogue_N].double()
        self._table = table if config is None else with_delivered_counts(table, config, generation)

    @property
    def table(self) -> TokenTable:
        """The token table, whose `catalogue_N` is scored."""
        return self._table

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """The numbers that the scores of each user depend on, [B, S]."""

    def added(self, batch: Batch, users_BS: Tensor) -> AddedScores | None:
        """Scores to add for items of the histories; by default none."""
        return None

    @abstractmethod
    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """Scores of `catalogue_N[start:stop]`, [B, C] float64."""
