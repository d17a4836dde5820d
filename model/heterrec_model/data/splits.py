"""Batches to evaluate and to recommend with: a split in its own order, one user, a made-up history."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batching import BatchLimits, cut_batches
from heterrec_model.data.chosen_features import chosen_entries
from heterrec_model.data.sequence_rows import Columns, SequenceRows, concat_rows, rows_of
from heterrec_model.data.shards import RowGroupReader, cut_spans, row_group_spans, windows
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.tokens import MISSING
from heterrec_schemas.values import value_text

_LIGHTER = 4
"""Without gradients a batch may hold so many times the items."""


def split_batches(
    generation: Generation, split: str, config: Config, *, max_users: int | None = None
) -> Iterator[Batch]:
    """The rows of a split in batches, with targets where the split has any.

    Windows of `data.shuffle_rows` rows follow one another in the order of the shards; inside one, histories of like
    length stand together. Memory holds one window and one row group.

    Args:
        generation: where the sequences come from.
        split: validation, test, latest or train.
        config: the run's settings.
        max_users: stop behind so many rows.

    Raises:
        CallError: there is no such split.
        CorruptGenerationError: a shard cannot be read.
    """
    columns = Columns.of(generation, split, config)
    reader = RowGroupReader(generation, columns.names)
    limits = BatchLimits(
        users=config.evaluation.batch_users,
        items=_LIGHTER * config.data.batch_items,
        by_length=config.data.length_buckets,
    )
    spans = row_group_spans(generation, split)
    if max_users is not None:
        spans = cut_spans(spans, 0, max_users)
    borders = windows(sum(span.rows for span in spans), config.data.shuffle_rows)
    for window in range(len(borders) - 1):
        inside = cut_spans(spans, borders[window], borders[window + 1])
        rows = concat_rows(rows_of(reader.read(span), columns) for span in inside)
        yield from _batches(rows, limits)
        del rows


def _batches(rows: SequenceRows, limits: BatchLimits) -> Iterator[Batch]:
    for rows_B in cut_batches(rows.extents.lengths_R, limits):
        yield rows.batch(rows_B)


def user_batch(
    generation: Generation, user_id: str | int, split: str, config: Config
) -> Batch | None:
    """One user's row of a split as a batch; None where the user has none.

    Args:
        generation: where the sequences come from.
        user_id: the user, as in the log or as text.
        split: train (the newest window), validation, test or latest.
        config: the run's settings.

    Raises:
        CallError: there is no such split.
        CorruptGenerationError: a shard cannot be read.
    """
    columns = Columns.of(generation, split, config)
    paths = generation.sequence_shards(split)
    text = value_text(user_id)
    if text is None:
        return None
    shard = paths[stable_hash(text) % len(paths)]
    with generation.open_shard(shard) as opened:
        integral = str(opened.schema_arrow.field("user_id").type) == "int64"
    if integral and not text.removeprefix("-").isdecimal():
        return None
    key = int(text) if integral else text
    table = generation.rows([shard], "user_id", [key], columns.names)
    return rows_of(table, columns).batch(np.array([0])) if len(table) else None


def items_batch(item_index: Sequence[int], generation: Generation, config: Config) -> Batch:
    """A made-up history as a batch: no times (all gaps are 0), no behaviours, no user features.

    Args:
        item_index: the history, oldest first.
        generation: whose items they are.
        config: the run's settings.

    Raises:
        CallError: the history is empty.
    """
    if not item_index:
        raise CallError("item_index", got="no item", expected="at least one")
    item_BT = torch.tensor([list(item_index)[-config.model.max_length :]], dtype=torch.int64)
    columns = Columns.of(generation, "latest", config)
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
