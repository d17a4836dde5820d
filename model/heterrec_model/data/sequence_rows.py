"""Rows of a split as flat columns, and the batches built from them.

Shapes: R rows, N items of all histories, B users of a batch, T items of its longest history.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_model.data.chosen_features import chosen_entries, shard_column
from heterrec_model.data.ragged_array import (
    IntArray,
    ListExtents,
    RaggedArray,
    as_numpy,
    concat_ragged,
    list_lengths,
    one_array,
    ragged_array,
)
from heterrec_model.data.refit_rows import TARGET, joined_rows
from heterrec_schemas import Generation

_USER, ITEM, _TIME, _BEHAVIOUR = "user_id", "item_index", "timestamp_ms", "behaviour"
_TARGET = "target_item_index"


@dataclass(frozen=True)
class SequenceColumns:
    """Columns to read from the rows of a split.

    Attributes:
        max_length: maximum number of items of a history.
        pieces: whether longer histories become several rows; else they are truncated to their last items.
        behaviour: whether behaviours are read.
        targets: whether targets are read.
        joined: whether targets are appended to the histories, as rows to train on.
        earlier: whether batches have the items before those of a piece or of a truncated history.
        user_features: columns of the chosen user features, by name.
    """

    max_length: int
    pieces: bool
    behaviour: bool
    targets: bool
    joined: bool
    earlier: bool
    user_features: Mapping[str, str]

    @classmethod
    def of(cls, generation: Generation, split: str, config: Config, *, train: bool = False) -> Self:
        """The columns that a configuration needs; with `train`, for the rows to train on.

        To train on a validation row, its targets are appended to its history. Under `train_windows: all`, training rows that
        are longer than `model.max_length` are cut into pieces, as the generation cut the histories into rows.

        Raises:
            CallError: the config names a user feature that the generation lacks.
        """
        entries = chosen_entries(generation, "user", config.model.user_features)
        return cls(
            max_length=config.model.max_length,
            pieces=train and generation.spec.sequences.train_windows == "all",
            behaviour=config.model.behaviour and generation.spec.interactions.behaviour is not None,
            targets=split in ("validation", "test") and not train,
            joined=split == "validation" and train,
            earlier=not train or config.model.repeats.enabled,
            user_features={entry.name: shard_column(entry) for entry in entries},
        )

    @property
    def names(self) -> list[str]:
        """All columns of the shards."""
        chosen = [_USER, *self.events, *[_TARGET] * self.targets]
        chosen += [TARGET + name for name in self.events] if self.joined else []
        return [*chosen, *self.user_features.values()]

    @property
    def events(self) -> list[str]:
        """Columns with one value per interaction."""
        return [ITEM, _TIME] + [_BEHAVIOUR] * self.behaviour


UserCells = npt.NDArray[Any] | RaggedArray
"""One user feature: one token per row [R], Z tokens per row [R, Z], or lists."""


@dataclass(eq=False)
class SequenceRows:
    """Rows of one split, with histories of at most `max_length` items.

    Attributes:
        user_ids: an Arrow array.
        extents: start and length of each history in the event columns.
        events: item_index, timestamp_ms and, if read, behaviour: [N] each.
        user_features: by name.
        targets: item_index of the targets, one list per row; None if the split has none.
        firsts_R: position of each history's first training target; None if all items are targets.
        begins_R: index in the event columns of the first of each history's earlier items, which end where it starts; None if
            they were not read.
    """

    user_ids: pa.Array
    extents: ListExtents
    events: dict[str, npt.NDArray[Any]]
    user_features: dict[str, UserCells]
    targets: RaggedArray | None
    firsts_R: IntArray | None = None
    begins_R: IntArray | None = None

    def __len__(self) -> int:
        return len(self.extents.lengths_R)

    def batch(self, rows_B: IntArray) -> Batch:
        """Some of the rows as a batch."""
        indices_BT, valid_BT = self.extents.padded_indices(rows_B)
        # Padded indices repeat the history's last item, which is the padding of timestamps.
        padded = {name: torch.from_numpy(x_N[indices_BT]) for name, x_N in self.events.items()}
        blank_BT = torch.from_numpy(~valid_BT)
        behaviour_BT = padded.get(_BEHAVIOUR)
        if behaviour_BT is not None:
            behaviour_BT = behaviour_BT.long().masked_fill_(blank_BT, 0)
        targets, firsts_R = self.targets, self.firsts_R
        return Batch(
            item_BT=padded[ITEM].masked_fill_(blank_BT, 0),
            timestamp_BT=padded[_TIME],
            length_B=torch.from_numpy(self.extents.lengths_R[rows_B]),
            behaviour_BT=behaviour_BT,
            user_features={
                name: torch.from_numpy(
                    cells.padded(rows_B) if isinstance(cells, RaggedArray) else cells[rows_B]
                )
                for name, cells in self.user_features.items()
            },
            user_ids=self.user_ids.take(_arrow(rows_B)).to_pylist(),
            targets=None
            if targets is None
            else [torch.from_numpy(targets.cell(row)) for row in rows_B],
            first_target_B=None if firsts_R is None else torch.from_numpy(firsts_R[rows_B]),
            earlier=self._earlier(rows_B),
        )

    def _earlier(self, rows_B: IntArray) -> HistoryItems | None:
        if self.begins_R is None:
            return None
        begins_B = self.begins_R[rows_B]
        counts_B = self.extents.starts_R[rows_B] - begins_B
        indices_E = ListExtents(begins_B, counts_B).indices()
        return HistoryItems(
            torch.from_numpy(np.repeat(np.arange(len(rows_B)), counts_B)),
            torch.from_numpy(self.events[ITEM][indices_E]),
            torch.from_numpy(self.events[_TIME][indices_E]),
        )


def sequence_rows(
    table: pa.Table, columns: SequenceColumns, end_ms: int | None = None
) -> SequenceRows:
    """The rows of a table of sequences; `columns.joined` needs `end_ms`, see `refit_rows.training_end`."""
    firsts_R: IntArray | None = None
    if columns.joined:
        table, firsts_R = joined_rows(table, columns.events, end_ms)
    arrays = {name: one_array(table[name]) for name in table.column_names}
    whole = ListExtents.of(list_lengths(arrays[ITEM]))
    extents, row_P = whole.last(columns.max_length), np.arange(len(table))
    if columns.pieces:
        extents, row_P = whole.pieces(columns.max_length)
    if firsts_R is not None:
        firsts_R = np.maximum(firsts_R[row_P] - (extents.starts_R - whole.starts_R[row_P]), 0)
        if columns.pieces:
            # a piece of context alone is a piece of the training split
            aimed_P = firsts_R < extents.lengths_R
            extents, row_P, firsts_R = extents.rows(aimed_P), row_P[aimed_P], firsts_R[aimed_P]
    begins_R: IntArray | None = None
    if columns.earlier:
        begins_R = whole.starts_R[row_P]
        events = {name: ragged_array(arrays[name]).values_N.copy() for name in columns.events}
    else:
        indices_N = extents.indices()
        events = {name: ragged_array(arrays[name]).values_N[indices_N] for name in columns.events}
        extents = ListExtents.of(extents.lengths_R)
    if not np.array_equal(row_P, np.arange(len(table))):
        for name in (_USER, *columns.user_features.values()):
            arrays[name] = arrays[name].take(_arrow(row_P))
    return SequenceRows(
        user_ids=arrays[_USER],
        extents=extents,
        events=events,
        user_features={
            name: _cells(arrays[column]) for name, column in columns.user_features.items()
        },
        targets=_copied(arrays[_TARGET]) if columns.targets else None,
        firsts_R=firsts_R,
        begins_R=begins_R,
    )


def concat_rows(parts: Iterable[SequenceRows]) -> SequenceRows:
    """Concatenate rows. Consumes the parts: each column is in memory twice only while it is copied."""
    rows = list(parts)
    assert rows, "at least one row"
    first = rows[0]
    if len(rows) == 1:
        return first
    sizes = np.asarray([len(part.events[ITEM]) for part in rows], np.int64)
    shifts = np.cumsum(sizes, dtype=np.int64) - sizes
    events = {
        name: np.concatenate([part.events.pop(name) for part in rows])
        for name in list(first.events)
    }
    users = {
        name: _concat([part.user_features.pop(name) for part in rows])
        for name in list(first.user_features)
    }
    targets = [part.targets for part in rows if part.targets is not None]
    return SequenceRows(
        user_ids=pa.concat_arrays([part.user_ids for part in rows]),
        extents=ListExtents(
            _shifted([part.extents.starts_R for part in rows], shifts),
            np.concatenate([part.extents.lengths_R for part in rows]),
        ),
        events=events,
        user_features=users,
        targets=concat_ragged(targets) if targets else None,
        firsts_R=_concat_firsts(rows),
        begins_R=None
        if first.begins_R is None
        else _shifted([part.begins_R for part in rows if part.begins_R is not None], shifts),
    )


def _shifted(parts: list[IntArray], shifts: IntArray) -> IntArray:
    """Indices into the arrays of each part as indices into the concatenated arrays."""
    return np.concatenate([part + shift for part, shift in zip(parts, shifts, strict=True)])


def _concat_firsts(parts: list[SequenceRows]) -> IntArray | None:
    """The first targets of all rows; 0 for parts whose items are all targets."""
    if all(part.firsts_R is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(len(p), np.int64) if p.firsts_R is None else p.firsts_R for p in parts]
    )


def _cells(column: pa.Array) -> UserCells:
    """One user feature, copied so that the row group can be freed."""
    if pa.types.is_fixed_size_list(column.type):
        return as_numpy(column.flatten()).astype(np.int64).reshape(len(column), -1)
    if pa.types.is_list(column.type):
        return _copied(column)
    return as_numpy(column).astype(np.int64)


def _copied(column: pa.Array) -> RaggedArray:
    lists = ragged_array(column)
    return RaggedArray(lists.values_N.copy(), lists.extents)


def _concat(parts: list[Any]) -> UserCells:
    return concat_ragged(parts) if isinstance(parts[0], RaggedArray) else np.concatenate(parts)


def _arrow(numbers_B: IntArray) -> pa.Array:
    """An Arrow array without a copy; like `to_numpy`, `pa.array` would import pandas."""
    buffer = pa.py_buffer(np.ascontiguousarray(numbers_B))
    return pa.Array.from_buffers(pa.int64(), len(numbers_B), [None, buffer])
