"""Validation rows as training rows, for the epochs that train on all that is known before the test.

A validation row is a history and its targets. Joined they are one history, of which what stands in the user's training
row already is context only: no interaction is a target twice.
Shapes: R rows, N events.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from heterrec_model.data.lists import Extents, Integers, list_lengths, lists_of, whole
from heterrec_model.data.shards import RowGroupReader, row_group_spans
from heterrec_schemas import Generation

TARGET = "target_"
EVENTS = (_ITEM, _TIME) = ("item_index", "timestamp_ms")


def training_end(generation: Generation) -> int | None:
    """Training interactions are those before this time, in ms; None for leave_one_out, where it differs by user."""
    return generation.manifest.cuts.get("validation_at_ms")


def joined_rows(
    table: pa.Table, events: Sequence[str], end_ms: int | None
) -> tuple[pa.Table, Integers]:
    """Histories with their targets behind them.

    Args:
        table: rows of the validation split, with the columns `<event>` and `target_<event>`.
        events: item_index, timestamp_ms, and behaviour where there is one.
        end_ms: see `training_end`.

    Returns:
        The table without the targets' columns, and the place in each history of the first item that was no training
        interaction, [R].
    """
    firsts_R = _first_targets(table, end_ms)
    for name in events:
        joined = _joined(whole(table[name]), whole(table[TARGET + name]))
        table = table.set_column(table.column_names.index(name), name, joined)
    return table.drop_columns([TARGET + name for name in events]), firsts_R


def validation_rows(generation: Generation) -> Iterator[tuple[pa.Table, Integers]]:
    """Every validation row as one to train on, a row group at a time: what `joined_rows` gives of items and times."""
    reader = RowGroupReader(generation, [*EVENTS, *(TARGET + name for name in EVENTS)])
    end_ms = training_end(generation)
    for span in row_group_spans(generation, "validation"):
        yield joined_rows(reader.read(span), EVENTS, end_ms)


def later_items(generation: Generation) -> Iterator[Integers]:
    """The item_index of every interaction that the validation split adds, a row group's at a time: [N]."""
    for table, firsts_R in validation_rows(generation):
        items = lists_of(whole(table[_ITEM]))
        starts_R, lengths_R = items.extents.starts_R, items.extents.lengths_R
        yield items.values_N[Extents(starts_R + firsts_R, lengths_R - firsts_R).places()]


def _first_targets(table: pa.Table, end_ms: int | None) -> Integers:
    times = lists_of(whole(table[_TIME]))
    if end_ms is None:
        return times.extents.lengths_R
    rows_N = np.repeat(np.arange(len(table)), times.extents.lengths_R)
    return np.bincount(rows_N[times.values_N < end_ms], minlength=len(table)).astype(np.int64)


def _joined(left: pa.Array, right: pa.Array) -> pa.Array:
    """Two columns of lists as one."""
    lengths_R = list_lengths(left) + list_lengths(right)
    extents = Extents.of(lengths_R)
    first, second = lists_of(left), lists_of(right)
    values_N = np.empty(int(lengths_R.sum()), first.values_N.dtype)
    lengths = first.extents.lengths_R
    values_N[Extents(extents.starts_R, lengths).places()] = first.values_N
    rest = Extents(extents.starts_R + lengths, second.extents.lengths_R)
    values_N[rest.places()] = second.values_N
    offsets = np.append(extents.starts_R, len(values_N)).astype(np.int32)
    values = pa.Array.from_buffers(
        left.type.value_type, len(values_N), [None, pa.py_buffer(values_N)]
    )
    return pa.Array.from_buffers(
        left.type, len(left), [None, pa.py_buffer(offsets)], children=[values]
    )
