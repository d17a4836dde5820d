"""Rows of a split as flat columns, and batches out of them.

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
from heterrec_model.data.batch import Batch
from heterrec_model.data.chosen_features import chosen_entries, shard_column
from heterrec_model.data.lists import (
    Extents,
    Integers,
    Lists,
    concat_lists,
    list_lengths,
    lists_of,
    numbers,
    whole,
)
from heterrec_model.data.refit import TARGET, joined_rows
from heterrec_schemas import Generation

_USER, _ITEM, _TIME, _BEHAVIOUR = "user_id", "item_index", "timestamp_ms", "behaviour"
_TARGET = "target_item_index"


@dataclass(frozen=True)
class Columns:
    """What is read of a split's rows.

    Attributes:
        max_length: histories are cut to their last so many items.
        behaviour: whether behaviours are read.
        targets: whether targets are.
        joined: whether targets are joined to the histories, as rows to train on.
        user_features: the chosen user features: their columns by name.
    """

    max_length: int
    behaviour: bool
    targets: bool
    joined: bool
    user_features: Mapping[str, str]

    @classmethod
    def of(cls, generation: Generation, split: str, config: Config, *, train: bool = False) -> Self:
        """What a run's settings ask of a split.

        Args:
            generation: whose.
            split: which.
            config: the run's settings.
            train: whether the rows are trained on: targets are then joined to the histories.

        Raises:
            CallError: the settings name a user feature that the generation lacks.
        """
        entries = chosen_entries(generation, "user", config.model.user_features)
        return cls(
            max_length=config.model.max_length,
            behaviour=config.model.behaviour and generation.spec.interactions.behaviour is not None,
            targets=split in ("validation", "test") and not train,
            joined=split == "validation" and train,
            user_features={entry.name: shard_column(entry) for entry in entries},
        )

    @property
    def names(self) -> list[str]:
        """The columns of the shards."""
        chosen = [_USER, *self.events, *[_TARGET] * self.targets]
        chosen += [TARGET + name for name in self.events] if self.joined else []
        return [*chosen, *self.user_features.values()]

    @property
    def events(self) -> list[str]:
        """The columns with a value an interaction."""
        return [_ITEM, _TIME] + [_BEHAVIOUR] * self.behaviour


UserCells = npt.NDArray[Any] | Lists
"""One user feature: a token a row [R], Z tokens a row [R, Z], or lists."""


@dataclass(eq=False)
class SequenceRows:
    """Rows of one split, their histories cut.

    Attributes:
        user_ids: an Arrow array.
        extents: where each history stands in the columns of events.
        events: item_index, timestamp_ms and, if read, behaviour of all histories: [N] each.
        user_features: by name.
        targets: a list of item_index a row; None where the split has none.
        firsts_R: the place of each history's first target in training; None where all items are.
    """

    user_ids: pa.Array
    extents: Extents
    events: dict[str, npt.NDArray[Any]]
    user_features: dict[str, UserCells]
    targets: Lists | None
    firsts_R: Integers | None = None

    def __len__(self) -> int:
        return len(self.user_ids)

    def batch(self, rows_B: Integers) -> Batch:
        """Some of the rows as a batch."""
        places_BT, valid_BT = self.extents.grid(rows_B)
        # Behind a history's end `places` stays at its last item, as the padding of times should.
        padded = {name: torch.from_numpy(x_N[places_BT]) for name, x_N in self.events.items()}
        blank_BT = torch.from_numpy(~valid_BT)
        behaviour_BT = padded.get(_BEHAVIOUR)
        return Batch(
            item_BT=padded[_ITEM].masked_fill_(blank_BT, 0),
            timestamp_BT=padded[_TIME],
            length_B=torch.from_numpy(self.extents.lengths_R[rows_B]),
            behaviour_BT=None
            if behaviour_BT is None
            else behaviour_BT.long().masked_fill_(blank_BT, 0),
            user_features={
                name: torch.from_numpy(_chosen(cells, rows_B))
                for name, cells in self.user_features.items()
            },
            user_ids=self.user_ids.take(_arrow(rows_B)).to_pylist(),
            targets=None
            if self.targets is None
            else [torch.from_numpy(self.targets.cell(row)) for row in rows_B],
            first_target_B=None
            if self.firsts_R is None
            else torch.from_numpy(self.firsts_R[rows_B]),
        )


def rows_of(table: pa.Table, columns: Columns, end_ms: int | None = None) -> SequenceRows:
    """The rows of a table of sequences.

    Args:
        table: of one split.
        columns: what of it is wanted.
        end_ms: where `columns.joined`: see `refit.training_end`.
    """
    firsts_R: Integers | None = None
    if columns.joined:
        table, firsts_R = joined_rows(table, columns.events, end_ms)
    arrays = {name: whole(table[name]) for name in table.column_names}
    whole_R = list_lengths(arrays[_ITEM])
    extents = Extents.of(whole_R).last(columns.max_length)
    places_N = extents.places()
    if firsts_R is not None:
        firsts_R = np.maximum(firsts_R - (whole_R - extents.lengths_R), 0)
    return SequenceRows(
        user_ids=arrays[_USER],
        extents=Extents.of(extents.lengths_R),
        events={name: lists_of(arrays[name]).values_N[places_N] for name in columns.events},
        user_features={
            name: _cells(arrays[column]) for name, column in columns.user_features.items()
        },
        targets=_own(arrays[_TARGET]) if columns.targets else None,
        firsts_R=firsts_R,
    )


def concat_rows(parts: Iterable[SequenceRows]) -> SequenceRows:
    """Rows after one another. The parts are used up: memory holds each column twice only while it is copied."""
    taken = list(parts)
    assert taken, "there is always a row to read"
    first = taken[0]
    if len(taken) == 1:
        return first
    events = {
        name: np.concatenate([part.events.pop(name) for part in taken])
        for name in list(first.events)
    }
    users = {
        name: _concat([part.user_features.pop(name) for part in taken])
        for name in list(first.user_features)
    }
    targets = [part.targets for part in taken if part.targets is not None]
    return SequenceRows(
        user_ids=pa.concat_arrays([part.user_ids for part in taken]),
        extents=Extents.of(np.concatenate([part.extents.lengths_R for part in taken])),
        events=events,
        user_features=users,
        targets=concat_lists(targets) if targets else None,
        firsts_R=_concat_firsts(taken),
    )


def _concat_firsts(parts: list[SequenceRows]) -> Integers | None:
    """The first targets of all rows; 0 for those whose items all are."""
    if all(part.firsts_R is None for part in parts):
        return None
    everything = (np.zeros(len(part), np.int64) for part in parts)
    pairs = zip(parts, everything, strict=True)
    return np.concatenate([zeros if p.firsts_R is None else p.firsts_R for p, zeros in pairs])


def _cells(column: pa.Array) -> UserCells:
    """One user feature of an Arrow column, as a copy: the row group it comes from is not kept."""
    if pa.types.is_fixed_size_list(column.type):
        return numbers(column.flatten()).astype(np.int64).reshape(len(column), -1)
    if pa.types.is_list(column.type):
        return _own(column)
    return numbers(column).astype(np.int64)


def _own(column: pa.Array) -> Lists:
    lists = lists_of(column)
    return Lists(lists.values_N.copy(), lists.extents)


def _concat(parts: list[Any]) -> UserCells:
    return concat_lists(parts) if isinstance(parts[0], Lists) else np.concatenate(parts)


def _chosen(cells: UserCells, rows_B: Integers) -> npt.NDArray[Any]:
    return cells.padded(rows_B) if isinstance(cells, Lists) else cells[rows_B]


def _arrow(numbers_B: Integers) -> pa.Array:
    """An Arrow array without a copy; `pa.array` would import pandas where it is installed, as `numbers` says."""
    buffer = pa.py_buffer(np.ascontiguousarray(numbers_B))
    return pa.Array.from_buffers(pa.int64(), len(numbers_B), [None, buffer])
