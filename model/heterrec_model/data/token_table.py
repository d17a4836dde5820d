"""The token table: tokens of all items in one array, indexed by item_index.

Shapes: I ids of the item vocabulary, C token columns, K features, N items of the catalogue, M retired items with a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.chosen_features import FeatureInfo, chosen_entries, configured_entries
from heterrec_model.data.delivered_rows import delivered_counts
from heterrec_model.data.refit_rows import later_items
from heterrec_model.data.token_table_arrays import read_arrays
from heterrec_model.data.token_table_cache import cached_table
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import FIRST_FREE


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The items of a generation as model input.

    Attributes:
        features: the chosen item features, in the order of the tokens.
        tokens_IC: int32, one row per item_index; the tokens of a feature are in `columns` columns from `start` on. Row 0
            is padding, all 0. Ids without an item (missing, out of vocabulary) have token 1 (missing) in the first column
            of every feature, and in all Z columns of an embedding.
        value_IK: int64: two items have equal numbers for a feature if and only if their cells are equal; lists are
            compared as sets.
        catalogue_N: int64, ascending: item_index of every item of the catalogue, which are the candidates. Ids need not be
            consecutive.
        retired_M: int64, ascending: item_index of every item that has left the catalogue but is still in histories.
        train_count_I: int64: number of training interactions per item; in the table of a run, occurrences in the rows of an
            epoch.
        trained_I: bool: whether an item counts as trained: it has training interactions here, or the run that a run was
            warm-started from knew it as trained.
        generation_id: id of the generation.
        content_sha256: hash of its content.
        user_features: the chosen user features, in the order of the tokens.
        behaviours: ids of behaviours are 0 .. behaviours - 1; 0 if the generation has no behaviours.
    """

    features: tuple[FeatureInfo, ...]
    tokens_IC: Tensor
    value_IK: Tensor
    catalogue_N: Tensor
    retired_M: Tensor
    train_count_I: Tensor
    trained_I: Tensor
    generation_id: str
    content_sha256: str
    user_features: tuple[FeatureInfo, ...]
    behaviours: int
    _generation: Generation = field(repr=False)

    def item_ids(self, item_index: Sequence[int]) -> list[str]:
        """The ids of some items with a row, as text, in the given order.

        Raises:
            CallError: an item does not exist.
        """
        table = self._generation.rows(
            self._generation.known_item_shards(),
            "item_index",
            set(item_index),
            ["item_index", "item_id"],
        )
        ids = dict(zip(table["item_index"].to_pylist(), table["item_id"].to_pylist(), strict=True))
        for index in item_index:
            if index not in ids:
                raise CallError(
                    f"there is no item with item_index {index} in {self._generation.root}",
                    expected="one of TokenTable.catalogue_N or retired_M",
                )
        return [str(ids[index]) for index in item_index]


def open_token_table(
    generation: Generation,
    *,
    features: Sequence[str] | None = None,
    user_features: Sequence[str] | None = None,
    cache: Path | None = None,
    refit: bool = False,
) -> TokenTable:
    """Read the items of a generation into a token table.

    Args:
        generation: source of the items.
        features: the item features to read; None reads all.
        user_features: the user features to describe; None describes all.
        cache: folder in which the arrays are stored and memory-mapped, so that several processes share their pages and
            later runs do not read the items again. None keeps them in memory.
        refit: also count the interactions of the validation split, for a model with refit epochs.

    Raises:
        CallError: a feature does not exist.
        CorruptGenerationError: a shard cannot be read, or its content is wrong.
    """
    items = chosen_entries(generation, "item", features)
    users = chosen_entries(generation, "user", user_features)
    return _table(generation, items, users, cache, refit=refit)


def _table(
    generation: Generation,
    items: Sequence[FeatureEntry],
    users: Sequence[FeatureEntry],
    cache: Path | None,
    *,
    refit: bool = False,
) -> TokenTable:
    if cache is None:
        described, arrays = read_arrays(generation, items, users)
    else:
        described, arrays = cached_table(generation, Path(cache), items, users)
    train_count_I = arrays["train_count"]
    if refit:
        train_count_I = train_count_I.copy()
        for items_N in later_items(generation):
            train_count_I += np.bincount(items_N, minlength=len(train_count_I))
    behaviour = generation.spec.interactions.behaviour
    return TokenTable(
        features=described["items"],
        tokens_IC=torch.from_numpy(arrays["tokens"]),
        value_IK=torch.from_numpy(arrays["value"]),
        catalogue_N=torch.from_numpy(arrays["catalogue"]),
        retired_M=torch.from_numpy(arrays["retired"]),
        train_count_I=torch.from_numpy(train_count_I),
        trained_I=torch.from_numpy(train_count_I > 0),
        generation_id=generation.manifest.generation,
        content_sha256=generation.manifest.content_sha256,
        user_features=described["users"],
        behaviours=0 if behaviour is None else FIRST_FREE + len(behaviour.values),
        _generation=generation,
    )


def configured_table(
    config: Config, generation: Generation, cache: Path | None = None
) -> TokenTable:
    """The token table that a configuration needs; see `open_token_table`.

    Trained items, the correction of negatives, and warm and cold items follow from its counts, which are those of the
    training loader.
    """
    table = _table(generation, *configured_entries(config, generation), cache)
    return with_delivered_counts(table, config, generation)


def with_trained(table: TokenTable, trained_I: Tensor | None) -> TokenTable:
    """The table with the items that count as trained by a checkpoint, unless that has none or is of another table."""
    if trained_I is None or len(trained_I) != len(table.trained_I):
        return table
    return replace(table, trained_I=trained_I)


def with_delivered_counts(table: TokenTable, config: Config, generation: Generation) -> TokenTable:
    """The table with the number of times that every item with a row occurs in the training rows of an epoch."""
    counts_I = torch.from_numpy(delivered_counts(generation, config, len(table.train_count_I)))
    listed_I = torch.zeros_like(counts_I)
    for index_N in (table.catalogue_N, table.retired_M):
        listed_I[index_N] = counts_I[index_N]
    return replace(table, train_count_I=listed_I, trained_I=listed_I > 0)
