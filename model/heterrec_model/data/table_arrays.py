"""Fill the arrays of a token table from the item shards, one row group at a time.

Shapes: I ids of the item vocabulary, C columns of tokens, K features, N items with a row, R rows of a row group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_model.data.chosen_features import shard_column
from heterrec_model.data.distinct_rows import first_equal_rows
from heterrec_model.data.features import FeatureInfo
from heterrec_model.data.lists import list_lengths, lists_of, numbers
from heterrec_schemas import Generation
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.tokens import MISSING

Make = Callable[[str, tuple[int, ...], Any], npt.NDArray[Any]]
"""Makes an array of zeros: its name, shape and type; in memory, or mapped from a file."""


@dataclass(frozen=True, eq=False)
class TableArrays:
    """What `TokenTable` holds as tensors."""

    tokens_IC: npt.NDArray[np.int32]
    value_IK: npt.NDArray[np.int64]
    catalogue_N: npt.NDArray[np.int64]
    train_count_I: npt.NDArray[np.int64]


def in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """The `Make` of arrays in plain memory."""
    return np.zeros(shape, dtype)


def fill_arrays(
    generation: Generation, features: Sequence[FeatureInfo], make: Make = in_memory
) -> TableArrays:
    """Read the items: memory holds the arrays and one row group."""
    items = generation.manifest.item_vocabulary_size
    columns = sum(feature.columns for feature in features)
    rows = sum(entry.rows or 0 for entry in generation.files("items"))
    arrays = TableArrays(
        tokens_IC=make("tokens", (items, columns), np.int32),
        value_IK=make("value", (items, len(features)), np.int64),
        catalogue_N=make("catalogue", (rows,), np.int64),
        train_count_I=make("train_count", (items,), np.int64),
    )
    _fill_missing(arrays.tokens_IC, features)
    _fill_tokens(generation, features, arrays)
    for k, feature in enumerate(features):
        tokens_IC = arrays.tokens_IC[:, feature.start : feature.start + feature.columns]
        arrays.value_IK[:, k] = (
            tokens_IC[:, 0]
            if feature.columns == 1
            # The model takes a list's mean, so the order of its tokens does not count.
            else first_equal_rows(tokens_IC, ordered=not feature.multivalued)
        )
    _fill_counts(generation, arrays.train_count_I)
    return arrays


def longest_lists(
    generation: Generation, paths: Sequence[str], entries: Sequence[FeatureEntry]
) -> dict[str, int]:
    """The length of the longest list of every multivalued feature, at least 1, by its name."""
    columns = {shard_column(entry): entry.name for entry in entries if entry.multivalued}
    longest = dict.fromkeys(columns.values(), 1)
    if columns:
        for group in row_groups(generation, paths, list(columns)):
            for column, name in columns.items():
                lengths_R = list_lengths(group[column].combine_chunks())
                longest[name] = max(longest[name], int(lengths_R.max(initial=0)))
    return longest


def row_groups(
    generation: Generation, paths: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Some columns of shards, a row group at a time, in the order of the paths."""
    for path in paths:
        with generation.open_shard(path) as shard:
            for group in range(shard.metadata.num_row_groups):
                yield shard.read_row_group(group, columns=list(columns), use_threads=False)


def _fill_missing(tokens_IC: npt.NDArray[np.int32], features: Sequence[FeatureInfo]) -> None:
    """What an id without an item row is: missing in every feature. Row 0 stays padding."""
    for feature in features:
        width = feature.groups or 1
        tokens_IC[1:, feature.start : feature.start + width] = MISSING


def _fill_tokens(
    generation: Generation, features: Sequence[FeatureInfo], arrays: TableArrays
) -> None:
    names = [feature.name for feature in features]
    done = 0
    for group in row_groups(generation, generation.item_shards(), ["item_index", *names]):
        index_R = numbers(group["item_index"].combine_chunks())
        arrays.catalogue_N[done : done + len(group)] = index_R
        done += len(group)
        for feature in features:
            cells_RC = _cells(group[feature.name].combine_chunks(), feature)
            arrays.tokens_IC[index_R, feature.start : feature.start + feature.columns] = cells_RC


def _cells(column: pa.Array, feature: FeatureInfo) -> npt.NDArray[Any]:
    """The tokens of one feature of a row group: [R, feature.columns]."""
    if not feature.multivalued:
        flat = column.flatten() if feature.kind == "embedding" else column
        return numbers(flat).reshape(-1, feature.columns)
    lists = lists_of(column)
    cells_RC = np.zeros((len(column), feature.columns), np.int32)
    if len(column):
        padded_RL = lists.padded(np.arange(len(column)))
        cells_RC[:, : padded_RL.shape[1]] = padded_RL
    return cells_RC


def _fill_counts(generation: Generation, train_count_I: npt.NDArray[np.int64]) -> None:
    paths = [entry.path for entry in generation.files("item_counts")]
    names = ("item_index", "train_count")
    for group in row_groups(generation, paths, names):
        index_R, counts_R = (numbers(group[name].combine_chunks()) for name in names)
        train_count_I[index_R] = counts_R
