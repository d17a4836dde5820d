"""Fill the arrays of a token table from the item shards, one row group at a time.

Shapes: I ids of the item vocabulary, C token columns, K features, N items of the catalogue, M retired items with a row,
R rows of a row group.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_model.data.chosen_features import FeatureInfo, describe_features, shard_column
from heterrec_model.data.distinct_rows import first_equal_rows
from heterrec_model.data.ragged_array import as_numpy, list_lengths, ragged_array
from heterrec_schemas import Generation
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.generation.verify import AGAIN
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import MISSING, PADDING

ARRAYS = ("tokens", "value", "catalogue", "retired", "train_count")
AllocateZeros = Callable[[str, tuple[int, ...], Any], npt.NDArray[Any]]
"""Allocates an array of zeros by name, shape and type: in memory, or memory-mapped."""


Arrays = dict[str, npt.NDArray[Any]]
"""The arrays of a `TokenTable`: tokens [I, C] int32, value [I, K], catalogue [N], retired [M], train_count [I] int64."""
Described = dict[str, tuple[FeatureInfo, ...]]
"""The chosen features of the sides `items` and `users`."""


def read_arrays(
    generation: Generation,
    items: Sequence[FeatureEntry],
    users: Sequence[FeatureEntry],
    allocate: AllocateZeros = lambda name, shape, dtype: np.zeros(shape, dtype),
) -> tuple[Described, Arrays]:
    """Describe the chosen features and read the items; memory holds the arrays and one row group.

    Raises:
        CorruptGenerationError: a shard cannot be read, or its content is wrong.
    """
    longest = _longest_lists(generation, generation.known_item_shards(), items)
    # `latest` has a row for every user.
    longest_user = _longest_lists(generation, generation.sequence_shards("latest"), users)
    described = {
        "items": describe_features(generation, items, longest),
        "users": describe_features(generation, users, longest_user),
    }
    return described, _read_items(generation, described["items"], allocate)


def _read_items(
    generation: Generation, features: Sequence[FeatureInfo], allocate: AllocateZeros
) -> Arrays:
    items = generation.manifest.item_vocabulary_size
    columns = sum(feature.columns for feature in features)
    rows, retired = (
        sum(entry.rows or 0 for entry in generation.files(folder))
        for folder in ("items", "retired")
    )
    tokens_IC = allocate("tokens", (items, columns), np.int32)
    value_IK = allocate("value", (items, len(features)), np.int64)
    catalogue_N = allocate("catalogue", (rows,), np.int64)
    retired_M = allocate("retired", (retired,), np.int64)
    train_count_I = allocate("train_count", (items,), np.int64)
    for feature in features:
        # An id without an item row is missing in every feature. Row 0 stays padding.
        width = feature.groups or 1
        tokens_IC[1:, feature.start : feature.start + width] = MISSING
    _fill_tokens(generation, generation.item_shards(), features, tokens_IC, catalogue_N)
    _fill_tokens(generation, generation.retired_shards(), features, tokens_IC, retired_M)
    if retired:
        _forget_erased(generation, features, tokens_IC, retired_M)
    for k, feature in enumerate(features):
        cells_IC = tokens_IC[:, feature.start : feature.start + feature.columns]
        value_IK[:, k] = (
            cells_IC[:, 0]
            if feature.columns == 1
            # The model averages a list, so the order of its tokens does not matter.
            else first_equal_rows(cells_IC, ordered=not feature.multivalued)
        )
    _fill_counts(generation, train_count_I)
    arrays = (tokens_IC, value_IK, catalogue_N, retired_M, train_count_I)
    return dict(zip(ARRAYS, arrays, strict=True))


def _longest_lists(
    generation: Generation, paths: Sequence[str], entries: Sequence[FeatureEntry]
) -> dict[str, int]:
    """Length of the longest list of every multivalued feature, at least 1, by name."""
    columns = {shard_column(entry): entry.name for entry in entries if entry.multivalued}
    longest = dict.fromkeys(columns.values(), 1)
    if columns:
        for group in _row_groups(generation, paths, list(columns)):
            for column, name in columns.items():
                lengths_R = list_lengths(group[column].combine_chunks())
                longest[name] = max(longest[name], int(lengths_R.max(initial=0)))
    return longest


def _row_groups(
    generation: Generation, paths: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Some columns of shards, one row group at a time."""
    for path in paths:
        yield from generation.row_groups(path, columns)


def _fill_tokens(
    generation: Generation,
    paths: Sequence[str],
    features: Sequence[FeatureInfo],
    tokens_IC: npt.NDArray[np.int32],
    index_N: npt.NDArray[np.int64],
) -> None:
    """Copy the rows of some shards into the tokens, and their item_index into `index_N`."""
    names = [feature.name for feature in features]
    done = 0
    for group in _row_groups(generation, paths, ["item_index", *names]):
        index_R = as_numpy(group["item_index"].combine_chunks())
        index_N[done : done + len(group)] = index_R
        done += len(group)
        for feature in features:
            cells_RC = _cells(group[feature.name].combine_chunks(), feature)
            tokens_IC[index_R, feature.start : feature.start + feature.columns] = cells_RC
    if (index_N[1:] <= index_N[:-1]).any():
        # The reader checks the order within a row group.
        raise CorruptGenerationError(
            f"the shards of {paths[0].partition('/')[0]}/ in {generation.root} are not in ascending order of item_index",
            todo=AGAIN,
        )


def _forget_erased(
    generation: Generation,
    features: Sequence[FeatureInfo],
    tokens_IC: npt.NDArray[np.int32],
    retired_M: npt.NDArray[np.int64],
) -> None:
    """Remove erased values from the rows of retired items, which keep the tokens that they had; a cell may become missing."""
    for feature in features:
        if feature.kind == "categorical":
            columns = slice(feature.start, feature.start + feature.columns)
            cells_MC = tokens_IC[retired_M, columns]
            cells_MC[np.isin(cells_MC, generation.erased_ids(feature.name))] = PADDING
            padding_last = np.argsort(cells_MC == PADDING, axis=1, kind="stable")
            cells_MC = np.take_along_axis(cells_MC, padding_last, axis=1)
            cells_MC[cells_MC[:, 0] == PADDING, 0] = MISSING
            tokens_IC[retired_M, columns] = cells_MC


def _cells(column: pa.Array, feature: FeatureInfo) -> npt.NDArray[Any]:
    """The tokens of one feature of a row group: [R, feature.columns]."""
    if not feature.multivalued:
        flat = column.flatten() if feature.kind == "embedding" else column
        return as_numpy(flat).reshape(-1, feature.columns)
    cells_RC = np.zeros((len(column), feature.columns), np.int32)
    if len(column):
        padded_RL = ragged_array(column).padded(np.arange(len(column)))
        cells_RC[:, : padded_RL.shape[1]] = padded_RL
    return cells_RC


def _fill_counts(generation: Generation, train_count_I: npt.NDArray[np.int64]) -> None:
    paths = [entry.path for entry in generation.files("item_counts")]
    names = ("item_index", "train_count")
    for group in _row_groups(generation, paths, names):
        index_R, counts_R = (as_numpy(group[name].combine_chunks()) for name in names)
        train_count_I[index_R] = counts_R
