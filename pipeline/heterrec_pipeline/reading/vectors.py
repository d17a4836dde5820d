"""Vectors in other forms than lists: JSON as text, and one column per dimension."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from heterrec_schemas.feature_spec import dimension_columns
from heterrec_schemas.values import clean_text, is_text


def file_columns(columns: Sequence[str], vectors: Sequence[str]) -> list[str]:
    """The columns of a file that some columns are made of: those of the dimensions, or the columns themselves."""
    parts = (dimension_columns(c) if c in vectors else None for c in columns)
    return list(dict.fromkeys(p for c, ps in zip(columns, parts, strict=True) for p in ps or [c]))


def with_vectors(
    columns: Sequence[str], vectors: Sequence[str], table: dict[str, pa.Array]
) -> list[pa.Array]:
    """Some columns of a batch, those of vectors as lists of numbers.

    Args:
        columns: the columns.
        vectors: those that are read as vectors.
        table: the columns of the file, see `file_columns`.

    Returns:
        Vectors are lists of float64; JSON as binary if a cell cannot be one. Columns that are no text are as they were.
    """
    return [_vector(c, table) if c in vectors else table[c] for c in columns]


def _vector(column: str, table: dict[str, pa.Array]) -> pa.Array:
    if (parts := dimension_columns(column)) is not None:
        return _joined([table[part] for part in parts])
    cells = table[column]
    if is_text(cells.type):
        return _lists([_parsed(text) for text in pl.Series(cells).cast(pl.String)])
    if pa.types.is_binary(cells.type):  # JSON lines with cells of several shapes
        return _unquoted(cells)
    return cells


def _parsed(text: str | None) -> Any:
    """The value of a cell: None, a list, or a text that is no JSON list."""
    if text is None or clean_text(text) is None:
        return None
    for parse in (orjson.loads, json.loads):  # the second reads NaN, Infinity and large integers
        try:
            cell = parse(text)
        except (ValueError, RecursionError):
            continue
        return cell if isinstance(cell, list) else text
    return text


def _lists(cells: list[Any]) -> pa.Array:
    """Cells as lists of float64; as JSON if one is no list of numbers."""
    plain = all(cell is None or _is_vector(cell) for cell in cells)
    if plain:
        return pa.array(cells, pa.list_(pa.float64()))
    made = [None if c is None else json.dumps(c, default=str).encode() for c in cells]
    return pa.array(made, pa.binary())


def _is_vector(cell: Any) -> bool:
    return isinstance(cell, list) and all(type(x) is float or _is_small(x) for x in cell)


def _is_small(value: object) -> bool:
    return value is None or (type(value) is int and abs(value) <= 2**53)


def _unquoted(cells: pa.Array) -> pa.Array:
    """JSON cells, of which a text with a list is the list."""
    found = cells.to_pylist()
    if not any(cell is not None and cell.startswith(b'"') for cell in found):
        return cells
    made = [
        json.dumps(_parsed(json.loads(cell))).encode()
        if cell is not None and cell.startswith(b'"')
        else cell
        for cell in found
    ]
    return pa.array([None if cell == b"null" else cell for cell in made], pa.binary())


def _joined(parts: list[pa.Array]) -> pa.Array:
    """Dimensions as lists: null where every dimension is missing; JSON if one is a text that is no number."""
    numbers = [_numbers(part) for part in parts]
    values = np.stack([n.to_numpy() for n in numbers], axis=1)
    missing = np.isnan(values).all(axis=1)
    wrong = np.zeros(len(missing), dtype=np.bool_)
    for part, number in zip(parts, numbers, strict=True):
        if is_text(part.type):
            text = pl.Series(part).cast(pl.String).str.strip_chars()
            wrong |= (number.is_null() & text.is_not_null() & (text != "")).to_numpy()
    if not wrong.any():
        flat = pa.array(np.ascontiguousarray(values).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, len(parts), mask=pa.array(missing))
    raw = zip(*(part.to_pylist() for part in parts), strict=True)
    cells = [
        list(row) if bad else None if empty else known
        for row, bad, empty, known in zip(
            raw, wrong.tolist(), missing.tolist(), values.tolist(), strict=True
        )
    ]
    return _lists(cells)


def _numbers(part: pa.Array) -> pl.Series:
    """A dimension as float64; null where there is no number, which may be a text."""
    if pa.types.is_decimal(part.type):
        part = part.cast(pa.string())
    found = pl.Series(part)
    text = found.cast(pl.String).str.strip_chars() if is_text(part.type) else found
    return text.cast(pl.Float64, strict=False)
