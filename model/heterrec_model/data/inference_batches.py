"""Batches for evaluation and recommendation: a split in its own order, one user, or a list of items."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batching import BatchLimits, cut_batches
from heterrec_model.data.chosen_features import FeatureInfo, chosen_entries
from heterrec_model.data.row_spans import RowGroupReader, cut_spans, row_group_spans, windows
from heterrec_model.data.sequence_rows import SequenceColumns, concat_rows, sequence_rows
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.tokens import MISSING
from heterrec_schemas.values import value_text

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


def user_batch(
    generation: Generation, user_id: str | int, split: str, config: Config
) -> Batch | None:
    """One user's row of a split (the newest window for `train`) as a batch; None if the user has none.

    Raises:
        CallError: the split does not exist.
        CorruptGenerationError: a shard cannot be read.
    """
    columns = SequenceColumns.of(generation, split, config)
    paths = generation.sequence_shards(split)
    text = value_text(user_id)
    if text is None:
        return None
    path = paths[stable_hash(text) % len(paths)]
    with generation.open_shard(path) as shard:
        integral = str(shard.schema_arrow.field("user_id").type) == "int64"
    if integral and not text.removeprefix("-").isdecimal():
        return None
    key = int(text) if integral else text
    table = generation.rows([path], "user_id", [key], columns.names)
    return sequence_rows(table, columns).batch(np.array([0])) if len(table) else None


def items_batch(item_index: Sequence[int], generation: Generation, config: Config) -> Batch:
    """A list of items as a history, oldest first: without times (all gaps are 0), behaviours and user features.

    Raises:
        CallError: the list is empty.
    """
    if not item_index:
        raise CallError("item_index", got="no item", expected="at least one")
    item_BT = torch.tensor([list(item_index)[-config.model.max_length :]], dtype=torch.int64)
    columns = SequenceColumns.of(generation, "latest", config)
    missing = {}
    for entry in chosen_entries(generation, "user", config.model.user_features):
        shape = (1, entry.groups or 1) if entry.groups or entry.multivalued else (1,)
        missing[entry.name] = torch.full(shape, MISSING, dtype=torch.int64)
    return Batch(
        item_BT=item_BT,
        timestamp_BT=torch.zeros_like(item_BT),
        length_B=torch.tensor([item_BT.shape[1]]),
        behaviour_BT=torch.full_like(item_BT, MISSING) if columns.behaviour else None,
        user_features=missing,
        user_ids=[""],
    )


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
