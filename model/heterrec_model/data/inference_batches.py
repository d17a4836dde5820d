"""Batches for evaluation and recommendation: a split in its own order, or histories."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batching import BatchLimits, cut_batches
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.row_spans import RowGroupReader, cut_spans, row_group_spans, windows
from heterrec_model.data.sequence_rows import SequenceColumns, concat_rows, sequence_rows
from heterrec_schemas import Generation

_WITHOUT_GRADIENTS = 4
"""Factor by which a batch may hold more items than in training."""


def split_batches(
    generation: Generation, split: str, config: Config, *, max_users: int | None = None
) -> Iterator[Batch]:
    """The first `max_users` rows of a split, by default all, in batches, with targets if the split has them.

    Windows of `data.shuffle_rows` rows follow the order of the shards; within a window, batches group histories of
    similar length. Memory holds one window and one row group.

    Raises:
        CallError: the split does not exist.
        CorruptGenerationError: a shard cannot be read.
    """
    columns = SequenceColumns.of(generation, split, config)
    reader = RowGroupReader(generation, columns.names)
    limits = BatchLimits(
        users=config.evaluation.batch_users,
        items=_WITHOUT_GRADIENTS * config.data.batch_items,
        by_length=config.data.length_buckets,
    )
    spans = row_group_spans(generation, split)
    if max_users is not None:
        spans = cut_spans(spans, 0, max_users)
    borders = windows(sum(span.rows for span in spans), config.data.shuffle_rows)
    for window in range(len(borders) - 1):
        inside = cut_spans(spans, borders[window], borders[window + 1])
        rows = concat_rows(sequence_rows(reader.read(span), columns) for span in inside)
        for rows_B in cut_batches(rows.extents.lengths_R, limits):
            yield rows.batch(rows_B)
        del rows  # before the next window is read


def histories_batch(
    histories: Mapping[str, Sequence[Any]],
    features: Sequence[FeatureInfo],
    max_length: int,
    *,
    with_behaviours: bool,
) -> Batch:
    """Some histories, with at least one item each, as a batch.

    Args:
        histories: items (item_index), times (ms), behaviours (ids) and user_features (tokens by feature): int64 arrays, one
            per user, oldest first.
        features: user features of the batch.
        max_length: number of last items that are read.
        with_behaviours: whether the batch has behaviours.
    """
    lengths = np.asarray([min(len(item), max_length) for item in histories["items"]], np.int64)
    shape = (len(lengths), int(lengths.max(initial=1)))
    item_BT, time_BT, behaviour_BT = (np.zeros(shape, np.int64) for _ in range(3))
    for row, length in enumerate(lengths):
        item_BT[row, :length] = histories["items"][row][-length:]
        time_BT[row, :length] = histories["times"][row][-length:]
        time_BT[row, length:] = time_BT[row, length - 1]
        if with_behaviours:
            behaviour_BT[row, :length] = histories["behaviours"][row][-length:]
    users = {}
    for feature in features:
        cells = [tokens[feature.name] for tokens in histories["user_features"]]
        padded = np.zeros((len(cells), max(1, *map(len, cells))), np.int64)
        for row, cell in enumerate(cells):
            padded[row, : len(cell)] = cell
        single = not feature.multivalued and not feature.groups
        users[feature.name] = torch.from_numpy(padded[:, 0].copy() if single else padded)
    return Batch(
        item_BT=torch.from_numpy(item_BT),
        timestamp_BT=torch.from_numpy(time_BT),
        length_B=torch.from_numpy(lengths),
        behaviour_BT=torch.from_numpy(behaviour_BT) if with_behaviours else None,
        user_features=users,
        user_ids=[""] * len(lengths),
    )
