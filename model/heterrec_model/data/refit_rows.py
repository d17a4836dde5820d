"""Validation rows as training rows, for the refit epochs.

A validation row is a history and its targets. Joined, they form one history in which the interactions of the user's
training row are context only, so no interaction is a target twice.
Shapes: R rows, N interactions.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from heterrec_model.data.ragged_array import (
    IntArray,
    ListExtents,
    list_lengths,
    one_array,
    ragged_array,
)
from heterrec_model.data.row_spans import RowGroupReader, row_group_spans
from heterrec_schemas import Generation

TARGET = "target_"
EVENTS = (_ITEM, _TIME) = ("item_index", "timestamp_ms")


def training_end(generation: Generation) -> int | None:
    """Time in ms before which interactions belong to training; None for leave_one_out, where it differs by user."""
    return generation.manifest.cuts.get("validation_at_ms")


def joined_rows(
    table: pa.Table, events: Sequence[str], end_ms: int | None
) -> tuple[pa.Table, IntArray]:
    """Append the targets to the histories.

    Args:
        table: rows of the validation split, with the columns `<event>` and `target_<event>`.
        events: item_index, timestamp_ms, and behaviour if the generation has behaviours.
        end_ms: see `training_end`.

    Returns:
        The table without the target columns, and the position in each history of the first item that is not a training
        interaction, [R].
    """
    firsts_R = _first_targets(table, end_ms)
    for name in events:
        joined = _joined(one_array(table[name]), one_array(table[TARGET + name]))
        table = table.set_column(table.column_names.index(name), name, joined)
    return table.drop_columns([TARGET + name for name in events]), firsts_R


def validation_rows(generation: Generation) -> Iterator[tuple[pa.Table, IntArray]]:
    """The `joined_rows` of all validation rows, with items and times, one row group at a time."""
    reader = RowGroupReader(generation, [*EVENTS, *(TARGET + name for name in EVENTS)])
    end_ms = training_end(generation)
    for span in row_group_spans(generation, "validation"):
        yield joined_rows(reader.read(span), EVENTS, end_ms)


def later_items(generation: Generation) -> Iterator[IntArray]:
    """The item_index of every interaction that the validation split adds, one row group at a time: [N]."""
    for table, firsts_R in validation_rows(generation):
        items = ragged_array(one_array(table[_ITEM]))
        starts_R, lengths_R = items.extents.starts_R, items.extents.lengths_R
        yield items.values_N[ListExtents(starts_R + firsts_R, lengths_R - firsts_R).indices()]


def _first_targets(table: pa.Table, end_ms: int | None) -> IntArray:
    times = ragged_array(one_array(table[_TIME]))
    if end_ms is None:
        return times.extents.lengths_R
    rows_N = np.repeat(np.arange(len(table)), times.extents.lengths_R)
    return np.bincount(rows_N[times.values_N < end_ms], minlength=len(table)).astype(np.int64)


def _joined(left: pa.Array, right: pa.Array) -> pa.Array:
    """Concatenate two columns of lists row by row."""
    lengths_R = list_lengths(left) + list_lengths(right)
    extents = ListExtents.of(lengths_R)
    first, second = ragged_array(left), ragged_array(right)
    values_N = np.empty(int(lengths_R.sum()), first.values_N.dtype)
    lengths = first.extents.lengths_R
    values_N[ListExtents(extents.starts_R, lengths).indices()] = first.values_N
    rest = ListExtents(extents.starts_R + lengths, second.extents.lengths_R)
    values_N[rest.indices()] = second.values_N
    offsets = np.append(extents.starts_R, len(values_N)).astype(np.int32)
    values = pa.Array.from_buffers(
        left.type.value_type, len(values_N), [None, pa.py_buffer(values_N)]
    )
    return pa.Array.from_buffers(
        left.type, len(left), [None, pa.py_buffer(offsets)], children=[values]
    )
