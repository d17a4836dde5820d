"""The rows of an epoch as the training loader delivers them, counted before the training.

Histories are cut or truncated to `model.max_length`, so the items and numbers of a generation's `item_counts` are not those
that a model is trained on.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from heterrec_model.config import Config
from heterrec_model.data.ragged_array import IntArray
from heterrec_model.data.refit_rows import training_end
from heterrec_model.data.row_spans import RowGroupReader, row_group_spans
from heterrec_model.data.sequence_rows import ITEM, SequenceColumns, SequenceRows, sequence_rows
from heterrec_schemas import Generation


def delivered_rows(generation: Generation, split: str, config: Config) -> Iterator[SequenceRows]:
    """The rows of a split to train on, without behaviours and user features, one row group at a time.

    Raises:
        CorruptGenerationError: a shard cannot be read.
    """
    columns = SequenceColumns.of(generation, split, config, train=True)
    columns = replace(columns, behaviour=False, earlier=False, user_features={})
    reader, end_ms = RowGroupReader(generation, columns.names), training_end(generation)
    for span in row_group_spans(generation, split):
        yield sequence_rows(reader.read(span), columns, end_ms)


def count_rows(generation: Generation, split: str, config: Config) -> int:
    """The number of rows of a split to train on."""
    if SequenceColumns.of(generation, split, config, train=True).pieces:
        return sum(len(rows) for rows in delivered_rows(generation, split, config))
    return sum(span.rows for span in row_group_spans(generation, split))


def delivered_counts(generation: Generation, config: Config, ids: int) -> IntArray:
    """How often each of the item indexes 0 .. ids - 1 occurs in an epoch, [I]; a refit epoch if the config has any."""
    counts_I = np.zeros(ids, np.int64)
    for split in ("train", "validation") if config.train.refit_epochs else ("train",):
        for rows in delivered_rows(generation, split, config):
            counts_I += np.bincount(rows.events[ITEM], minlength=ids)
    return counts_I
