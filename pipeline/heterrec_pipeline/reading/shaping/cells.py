"""Columns as expressions see them: each cell in the type that its file, or in JSON lines the cell itself, gives it."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.reading.formats import jsonl
from heterrec_pipeline.reading.shaping.evaluate import is_failure
from heterrec_pipeline.reading.shaping.nested import is_many
from heterrec_schemas.rejects import VALUE_CHARACTERS
from heterrec_schemas.values import is_text, value_text

Kinds = tuple[tuple[str, pl.DataType], ...]
"""Columns with their types."""
NOTHING = pl.Null()
"""The type of null in JSON lines, and of a column that a file lacks."""
UNREADABLE = pl.Struct([])
"""The type of what no expression can read, such as objects."""
_LARGE = (pl.UInt64, pl.Int128, pl.UInt128)
_HUGE = 2**127
"""Integers from -_HUGE up to below _HUGE fit into 128 bits."""
_WHOLE, _LONG, _FLOAT, _TEXT = pl.Int64(), pl.Int128(), pl.Float64(), pl.String()
_TYPES: dict[type, pl.DataType] = {bool: pl.Boolean(), int: _WHOLE, float: _FLOAT, str: _TEXT}
"""The types of JSON values by those of Python."""


class Cells(NamedTuple):
    """A column of n cells of several types.

    Attributes:
        parts: for each type, a column of n cells, which are null where the cell has another type.
        of: [n] the number of the part that holds each cell; None if there is only one.
    """

    parts: tuple[pl.Series, ...]
    of: npt.NDArray[np.int64] | None = None

    def cell(self, at: int) -> Any:
        """One of the cells."""
        found = self.parts[0 if self.of is None else self.of[at]][at]
        return found.to_list() if isinstance(found, pl.Series) else found


def from_file(column: pa.Array, *, empty_is_null: bool) -> pl.Series:
    """A column of a file whose columns have types.

    Dictionaries and UUIDs are text, and instants are in UTC without a zone, since they could not be compared with literals
    otherwise; so are those inside lists.

    Args:
        column: [n] the cells.
        empty_is_null: whether empty text means a missing value, as in CSV.
    """
    try:
        column = _simple(column)
        if empty_is_null and is_text(column.type):
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        return pl.Series(pl.from_arrow(column))
    except BaseException as error:  # Polars panics for decimals of 256 bits, also inside lists
        if not (is_failure(error) or isinstance(error, pa.ArrowNotImplementedError)):
            raise
        return pl.Series([None] * len(column), dtype=UNREADABLE)


def _simple(column: pa.Array) -> pa.Array:
    """A column with the types that expressions take, also inside lists."""
    kind, t = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _uuid_texts(column) if "uuid" in kind.extension_name else _simple(column.storage)
    if is_many(kind) and _simple(pa.nulls(0, kind.value_type)).type != kind.value_type:
        lists = column.cast(pa.large_list(kind.value_type))
        # The elements of nulls, and of what a slice leaves out, are no elements.
        inner = _simple(pc.list_flatten(lists))
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return pa.LargeListArray.from_arrays(pa.array(ends), inner, mask=lists.is_null())
    if t.is_dictionary(kind):
        return column.cast(kind.value_type)
    if t.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit))
    if t.is_float16(kind):
        return column.cast(pa.float32())
    return column.cast(pa.large_binary()) if t.is_fixed_size_binary(kind) else column


@cache
def type_in_file(kind: pa.DataType) -> pl.DataType:
    """The type in which expressions see a column of a type."""
    return from_file(pa.nulls(0, kind), empty_is_null=False).dtype


def arrow_type(kind: pl.DataType) -> pa.DataType | None:
    """The type of a derived column in a file; None if there is none."""
    try:
        return pl.Series([], dtype=kind).to_arrow(compat_level=pl.CompatLevel.oldest()).type
    except (pl.exceptions.PolarsError, pa.ArrowException):
        return None


def _uuid_texts(column: pa.Array) -> pa.Array:
    cells = (cell.hex() if cell is not None else None for cell in column.storage.to_pylist())
    texts = [
        None if c is None else "-".join((c[:8], c[8:12], c[12:16], c[16:20], c[20:])) for c in cells
    ]
    return pa.array(texts, pa.large_string())


def from_json(cells: Sequence[Any]) -> tuple[Cells, dict[int, str]]:
    """A column of JSON values, and by position the texts of those that no expression can read, which are null."""
    if (plain := _plain(cells)) is not None:
        return plain, {}
    kinds = list(map(json_type, cells))
    numbers = {kind: k for k, kind in enumerate(dict.fromkeys(kinds))}
    of = np.array([numbers[kind] for kind in kinds], np.int64)
    parts = [_part(cells, kind, of == k) for kind, k in numbers.items()]
    unseen = {at: json_words(cells[at]) for at, kind in enumerate(kinds) if kind == UNREADABLE}
    return Cells(tuple(parts), of if len(parts) > 1 else None), unseen


def _plain(cells: Sequence[Any]) -> Cells | None:
    """A column of nulls, booleans, numbers and texts; None if it has other cells, or an integer beyond 64 bits."""
    numbers = {kind: k for k, kind in enumerate(dict.fromkeys(map(type, cells)))}
    some = [kind for kind in numbers if kind is not type(None)]
    if not all(kind in _TYPES for kind in some):
        return None
    parts = []
    for kind in numbers or [type(None)]:
        own = cells if len(some) == 1 else [c if type(c) is kind else None for c in cells]
        try:
            parts.append(
                _nothing(len(cells)) if kind not in some else pl.Series(own, dtype=_TYPES[kind])
            )
        except (TypeError, OverflowError):
            return None
    if len(parts) == 1:
        return Cells(tuple(parts))
    return Cells(tuple(parts), np.fromiter(map(numbers.__getitem__, map(type, cells)), np.int64))


def _nothing(count: int) -> pl.Series:
    return pl.Series([None] * count, dtype=NOTHING)


def json_type(cell: Any) -> pl.DataType:
    """The type in which expressions see a JSON value.

    Integers beyond 64 bits have 128. A list of them, or with elements of several types, is a list of texts. Objects, lists of
    them, of values at several depths or of too many levels, and still larger integers have the type
    `UNREADABLE`, which no expression can read.
    """
    if isinstance(cell, list):
        return UNREADABLE if jsonl.too_deep(cell) else _list_type([cell])
    kind = NOTHING if cell is None else _TYPES.get(type(cell), UNREADABLE)
    if kind == _WHOLE and not -jsonl.EDGE <= cell < jsonl.EDGE:
        return _LONG if -_HUGE <= cell < _HUGE else UNREADABLE
    return kind


def _list_type(lists: Sequence[list[Any]]) -> pl.DataType:
    """The type of lists that are elements of the same list."""
    elements = [element for cells in lists for element in cells if element is not None]
    inner = [element for element in elements if isinstance(element, list)]
    if inner:
        of_inner = _list_type(inner) if len(inner) == len(elements) else UNREADABLE
        return UNREADABLE if of_inner == UNREADABLE else pl.List(of_inner)
    kinds = set(map(json_type, elements))
    if UNREADABLE in kinds:
        return UNREADABLE
    if kinds == {_LONG}:
        return pl.List(_TEXT)  # results in Arrow have no lists of such integers
    if kinds == {_WHOLE, _FLOAT} and all(
        abs(element) <= jsonl.EXACT for element in elements if isinstance(element, int)
    ):
        return pl.List(_FLOAT)
    return pl.List(_TEXT if len(kinds) > 1 else kinds.pop() if kinds else NOTHING)


def _part(cells: Sequence[Any], kind: pl.DataType, here: npt.NDArray[np.bool_]) -> pl.Series:
    """The cells of a type; null where they have another one."""
    if kind in (NOTHING, UNREADABLE):
        return _nothing(len(cells))
    own = [cell if mine else None for cell, mine in zip(cells, here.tolist(), strict=True)]
    return pl.Series([_as_texts(cell, kind) for cell in own], dtype=kind)


def _as_texts(cell: Any, kind: object) -> Any:
    """A cell of a list type with numbers as floats, or with texts, if that is the type of its elements."""
    if isinstance(cell, list) and isinstance(kind, pl.List):
        return [_as_texts(element, kind.inner) for element in cell]
    if cell is None or isinstance(cell, str):
        return cell
    if kind == _FLOAT:
        return float(cell)
    return value_text(cell) if kind == _TEXT else cell


def json_words(value: Any) -> str:
    """The text of a JSON value, for `rejects/`."""
    if jsonl.too_deep(value):
        return "a value of too many levels"
    return json.dumps(value, ensure_ascii=False)[:VALUE_CHARACTERS]


def joined(pieces: Sequence[tuple[npt.NDArray[np.int64], pl.Series]], count: int) -> Cells:
    """A column of n cells, of pieces at some positions each; null at the others."""
    of = np.full(count, -1, np.int64)
    parts: list[pl.Series] = []
    kinds = list(dict.fromkeys(piece.dtype for _, piece in pieces))
    for k, kind in enumerate(kinds):
        own = [(at, piece) for at, piece in pieces if piece.dtype == kind]
        at = np.concatenate([at for at, _ in own])
        cells = pl.concat([piece for _, piece in own])
        if len(at) < count or len(own) > 1:
            where = np.full(count, len(cells), np.int64)
            where[at] = np.arange(len(cells))
            cells = cells.extend(pl.Series([None], dtype=kind)).gather(where)
        parts.append(cells)
        of[at] = k
    if (of < 0).any() or not parts:
        of[of < 0] = len(parts)
        parts.append(_nothing(count))
    return Cells(tuple(parts), of if len(parts) > 1 else None)


def as_arrow(cells: Cells, column: str, file: str) -> pa.Array:
    """Cells as a column; those of several types as JSON lines have them: see `jsonl.typed`."""
    parts = [part for part in cells.parts if part.dtype != NOTHING] or [cells.parts[0]]
    if len(parts) > 1:
        parts = _numbers(parts)
    if len(parts) == 1:
        return parts[0].to_arrow(compat_level=pl.CompatLevel.oldest())
    assert cells.of is not None
    lists = [part.to_list() for part in cells.parts]
    values = [_as_json(lists[k][at]) for at, k in enumerate(cells.of.tolist())]
    return jsonl.typed(values, column, file)


def _numbers(parts: list[pl.Series]) -> list[pl.Series]:
    """The parts of a column; a single one if they are numbers of types that a type of 64 bits holds exactly."""
    small = (part for part in parts if part.dtype.is_integer() and part.dtype not in _LARGE)
    whole = [part.cast(_WHOLE) for part in small]
    fractions = [part.cast(_FLOAT) for part in parts if part.dtype.is_float()]
    if len(whole) + len(fractions) < len(parts):
        return parts
    if fractions and any((part.abs() > jsonl.EXACT).any() for part in whole):
        return parts
    same = [*(part.cast(_FLOAT) for part in whole), *fractions] if fractions else whole
    return [reduce(lambda one, other: one.zip_with(one.is_not_null(), other), same)]


def _as_json(value: Any) -> Any:
    """A value among values of other types."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_as_json(element) for element in value]
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value_text(value) if isinstance(value, date | time) else str(value)


def in_words(cells: Mapping[str, Any]) -> str:
    """The cells of a row that an expression reads, for `rejects/`."""
    words = {name: _word(cell) for name, cell in cells.items()}
    if len(words) == 1:
        return next(iter(words.values()))[:VALUE_CHARACTERS]
    return ", ".join(f"{name}: {word}" for name, word in words.items())[:VALUE_CHARACTERS]


def _word(cell: object) -> str:
    try:
        return value_text(cell) or ""
    except (TypeError, ValueError):
        return str(cell)
