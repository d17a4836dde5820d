"""Cells of Parquet whose text is not UTF-8: Arrow returns them unchecked, and every later use would fail on them."""

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.reading.batches import BadText
from heterrec_schemas.rejects import VALUE_CHARACTERS
from heterrec_schemas.values import is_list, is_text


def without_bad_text(
    record: pa.RecordBatch, rows: npt.NDArray[np.int64]
) -> tuple[pa.RecordBatch, BadText]:
    """Replace the cells that are not UTF-8 by null; a list is bad if one of its elements is.

    Args:
        record: n rows of raw columns.
        rows: [n] their numbers.
    """
    found: dict[str, dict[int, str]] = {}
    for k, name in enumerate(record.schema.names):
        if _is_utf8(record.column(k)):
            continue
        column = record.column(k).cast(_plain(record.column(k).type))
        bad = np.zeros(len(column), dtype=np.bool_)
        bad[_bad_cells(column)] = True
        if bad.any():
            found[name] = {int(rows[at]): _shown(column[at]) for at in np.flatnonzero(bad).tolist()}
            column = column.take(pa.array(np.arange(len(column)), mask=bad))
        # Set even if no cell is bad: the values that a dictionary has, but no cell, are gone.
        record = record.set_column(k, name, column)
    return record, found


def _is_utf8(column: pa.Array) -> bool:
    """Whether all text of a column is UTF-8; a fast pass over its bytes."""
    inner = column.type
    while is_list(inner):
        inner = inner.value_type
    if not is_text(inner):
        return True
    while is_list(column.type):
        column = column.flatten()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, on which Arrow has fewer functions."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    return pa.list_(_plain(kind.value_type)) if is_list(kind) else kind


def _bad_cells(column: pa.Array) -> list[int]:
    """The positions of the cells of a plain column that are not UTF-8; a list may be named several times."""
    if is_list(column.type):
        rows = pc.list_parent_indices(column)
        return [rows[at].as_py() for at in _bad_cells(column.flatten())]
    cells = column.cast(pa.large_binary()).to_pylist()
    return [at for at, cell in enumerate(cells) if cell is not None and not _decodes(cell)]


def _decodes(cell: bytes) -> bool:
    try:
        cell.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shown(cell: pa.Scalar) -> str:
    text = _escaped(cell)
    text = json.dumps(text, ensure_ascii=False) if isinstance(text, list) else str(text)
    return text[:VALUE_CHARACTERS]


def _escaped(cell: pa.Scalar) -> object:
    if not cell.is_valid:
        return None
    if is_list(cell.type):
        return [_escaped(part) for part in cell.values]
    return cell.as_buffer().to_pybytes().decode("utf-8", errors="backslashreplace")
