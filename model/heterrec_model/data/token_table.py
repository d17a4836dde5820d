"""The token table: every item's tokens as one array, looked up by item_index.

Shapes: I ids of the item vocabulary, C columns of tokens, K features, N items with a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from heterrec_model.data.chosen_features import chosen_entries, describe_features
from heterrec_model.data.features import FeatureInfo
from heterrec_model.data.refit import later_items
from heterrec_model.data.table_arrays import TableArrays, fill_arrays, longest_lists
from heterrec_model.data.table_cache import Described, cached_table
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.tokens import FIRST_FREE


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The items of a generation, as a model reads them.

    Attributes:
        features: the chosen item features, in the spec's order.
        tokens_IC: int32, a row an item_index; a feature's tokens stand in `columns` columns from `start` on. Row 0 is
            padding, all 0. Ids without an item (missing, out of vocabulary) have the token 1 (missing) in the first
            column of every feature, in all Z of an embedding.
        value_IK: int64: two items have equal numbers for a feature exactly where their cells are equal; lists are
            compared as sets.
        catalogue_N: int64, ascending: the item_index of every item that has a row.
        train_count_I: int64: how many training interactions an item has.
        generation_id: of the generation that the table was read from.
        content_sha256: of its content.
        user_features: the chosen user features, in the spec's order.
        behaviours: ids of behaviours are 0 .. behaviours - 1; 0 where the generation has none.
    """

    features: tuple[FeatureInfo, ...]
    tokens_IC: Tensor
    value_IK: Tensor
    catalogue_N: Tensor
    train_count_I: Tensor
    generation_id: str
    content_sha256: str
    user_features: tuple[FeatureInfo, ...]
    behaviours: int
    _generation: Generation = field(repr=False)

    def item_ids(self, item_index: Sequence[int]) -> list[str]:
        """The catalogue's own ids of some items, as text, in the order asked for.

        Raises:
            CallError: there is no such item.
        """
        table = self._generation.rows(
            self._generation.item_shards(),
            "item_index",
            set(item_index),
            ["item_index", "item_id"],
        )
        ids = dict(zip(table["item_index"].to_pylist(), table["item_id"].to_pylist(), strict=True))
        for index in item_index:
            if index not in ids:
                raise CallError(
                    f"there is no item with item_index {index} in {self._generation.root}",
                    expected="one of TokenTable.catalogue_N",
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
        generation: where the items come from.
        features: the item features to take; None takes all.
        user_features: the user features to describe; None takes all.
        cache: a folder in which the arrays are kept as files and mapped from, so that several processes share their
            pages and later runs need not read the items again. None keeps them in plain memory.
        refit: count the validation split's interactions too, for a model that is trained on them in the end.

    Raises:
        CallError: there is no such feature.
        CorruptGenerationError: a shard cannot be read.
    """
    items = chosen_entries(generation, "item", features)
    users = chosen_entries(generation, "user", user_features)

    def describe() -> Described:
        longest = longest_lists(generation, generation.item_shards(), items)
        # `latest` has a row for every user.
        longest_user = longest_lists(generation, generation.sequence_shards("latest"), users)
        return Described(
            describe_features(generation, items, longest),
            describe_features(generation, users, longest_user),
        )

    if cache is None:
        described = describe()
        arrays = fill_arrays(generation, described.items)
    else:
        names = [entry.name for entry in items], [entry.name for entry in users]
        described, arrays = cached_table(generation, Path(cache), names, describe)
    table = _table(generation, described, arrays)
    return replace(table, train_count_I=_with_validation(generation, table)) if refit else table


def _with_validation(generation: Generation, table: TokenTable) -> Tensor:
    """How many interactions an item has in the training and the validation split together: [I]."""
    count_I = table.train_count_I.numpy().copy()
    for items_N in later_items(generation):
        count_I += np.bincount(items_N, minlength=len(count_I))
    return torch.from_numpy(count_I)


def _table(generation: Generation, described: Described, arrays: TableArrays) -> TokenTable:
    behaviour = generation.spec.interactions.behaviour
    return TokenTable(
        features=described.items,
        tokens_IC=torch.from_numpy(arrays.tokens_IC),
        value_IK=torch.from_numpy(arrays.value_IK),
        catalogue_N=torch.from_numpy(arrays.catalogue_N),
        train_count_I=torch.from_numpy(arrays.train_count_I),
        generation_id=generation.manifest.generation,
        content_sha256=generation.manifest.content_sha256,
        user_features=described.users,
        behaviours=0 if behaviour is None else FIRST_FREE + len(behaviour.values),
        _generation=generation,
    )
