"""JSON lines: scalars keep their JSON type; a line that is not an object is rejected."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from heterrec_pipeline.reading.batches import BadRow, ReadBatch
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.formats.text import bad_utf8, lines
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import value_text

EXACT = 2**53
"""Largest absolute value below which float64 holds every integer."""
MAX_LEVELS = 64
"""Maximum number of objects and lists inside each other; in place of each that is deeper there is an empty object."""
_MAX_SLOW_LEVELS = 200
"""Number of levels that the standard library parses however deep the stack is."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]')
EDGE = 2**63
"""Integers from -EDGE up to below EDGE fit into int64."""


def read(file: InputFile, columns: Sequence[str]) -> Iterator[ReadBatch]:
    """The requested columns of a JSON lines file, in batches; an absent key is null.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
        SchemaMismatchError: a cell of a requested column is an object.
    """
    next_row = 0
    for block in lines(file):
        cells: list[list[Any]] = [[] for _ in columns]
        rows: list[int] = []
        bad: list[BadRow] = []
        for line in block:
            if not line or line.isspace():
                continue
            found = _cells(line, columns, file)
            if found is not None:
                for cell, values in zip(found, cells, strict=True):
                    values.append(cell)
                rows.append(next_row)
            else:
                bad.append(BadRow(next_row, Reason.MALFORMED_ROW, shown(line)))
            next_row += 1
        table = pa.table(
            [typed(v, c, file.name) for c, v in zip(columns, cells, strict=True)],
            names=list(columns),
        )
        yield ReadBatch(table, np.array(rows, dtype=np.int64), bad)


def _cells(line: bytes, columns: Sequence[str], file: InputFile) -> list[Any] | None:
    """The cells of a line in the requested columns; None if it is not a JSON object."""
    parsed = parse(line, file)
    if not isinstance(parsed, dict):
        return None
    cells = [parsed.get(column) for column in columns]
    if any(map(beyond, cells)):
        exact = parse_slowly(line, file)
        return None if exact is None else [exact.get(column) for column in columns]
    return cells


def beyond(cell: Any) -> bool:
    """Whether a number may have been an integer beyond 64 bits, which orjson reads as a float."""
    if isinstance(cell, list):
        try:
            return bool(cell) and not (-EDGE < min(cell) and max(cell) < EDGE)
        except TypeError:  # it contains texts, nulls or lists
            return any(map(beyond, cell))
    return isinstance(cell, float) and not -EDGE < cell < EDGE


def parse(line: bytes, file: InputFile) -> Any:
    """One line as Python values, of at most `MAX_LEVELS` levels; None if it is not JSON.

    Raises:
        DataError: the line is not UTF-8.
    """
    try:
        return _cut(orjson.loads(line), line)
    except orjson.JSONDecodeError:
        return parse_slowly(line, file)


def parse_slowly(line: bytes, file: InputFile) -> Any:
    """Parse by the standard library, which also reads NaN, Infinity and integers beyond 64 bits.

    None if the line is not JSON, or has more than 200 levels.
    """
    if _many_levels(line) and _levels(line) > _MAX_SLOW_LEVELS:
        return None
    try:
        value = json.loads(line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is not text
    except UnicodeDecodeError as error:
        raise bad_utf8(file) or unreadable(file, error) from None
    except ValueError:
        return None
    return _cut(value, line)


def too_deep(value: Any, levels: int = 16) -> bool:
    """Whether a value has more than some levels of objects and lists inside each other: no cell is used then."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    if levels == 0:
        return True
    if {dict, list}.isdisjoint(map(type, inner)):
        return False
    return any(too_deep(one, levels - 1) for one in inner)


def _many_levels(line: bytes) -> bool:
    """Whether a line may have more than `MAX_LEVELS` levels."""
    return line.count(b"[") + line.count(b"{") > MAX_LEVELS


def _levels(line: bytes) -> int:
    """The number of objects and lists inside each other in a line."""
    level = most = 0
    for token in _TOKENS.findall(line):
        level += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        most = max(most, level)
    return most


def _cut(value: Any, line: bytes) -> Any:
    """The value of a line, with an empty object in place of what is deeper than `MAX_LEVELS`."""
    if _many_levels(line):
        _cut_below(value, MAX_LEVELS)
    return value


def _cut_below(value: Any, levels: int) -> None:
    if not isinstance(value, dict | list):
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if levels > 1:
            _cut_below(inner, levels - 1)
        elif isinstance(inner, dict | list):
            value[key] = {}


def shown(line: bytes) -> str:
    """The beginning of a line that is not JSON, for `rejects/`."""
    return line[:400].decode("utf-8", errors="replace").rstrip("\r")


def typed(cells: list[Any], column: str, file: str) -> pa.Array:
    """The narrowest Arrow column that holds the cells exactly; text where types mix.

    The texts of the cells, and whether all of them are whole numbers, do not depend on how rows are cut into batches.
    """
    kinds = {type(c) for c in cells if c is not None}
    if len(kinds) > 1:  # blank text and NaN are missing values: they do not count as a type
        cells = [None if _is_missing(c) else c for c in cells]
        kinds = {type(c) for c in cells if c is not None}
    if dict in kinds:
        raise SchemaMismatchError(
            f"{file}: column {column!r} holds objects",
            got="an object",
            expected="text, numbers, booleans, or lists of them",
        )
    if not kinds:
        return pa.nulls(len(cells))
    if kinds == {str}:
        return pa.array(cells, pa.string())
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    if list in kinds:
        return _typed_lists(cells, kinds)
    numbers = _typed_numbers(cells) if kinds <= {int, float} else None
    return pa.array([value_text(c) for c in cells], pa.string()) if numbers is None else numbers


def _is_missing(cell: Any) -> bool:
    return isinstance(cell, str | float) and value_text(cell) is None


def _typed_numbers(cells: list[Any]) -> pa.Array | None:
    """Integers and floats as float64 or int64; None if neither type holds all of them exactly."""
    present = [c for c in cells if c is not None]
    floats = [c for c in present if isinstance(c, float)]
    if floats and all(isinstance(c, float) or abs(c) <= EXACT for c in present):
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    if all(-EDGE <= c < EDGE and int(c) == c for c in present):
        return pa.array([None if c is None else int(c) for c in cells], pa.int64())
    return None


def _typed_lists(cells: list[Any], kinds: set[type]) -> pa.Array:
    """Lists of numbers or texts, of one or two levels; otherwise JSON as binary."""
    if kinds == {list} and not any(
        map(_has_boolean, cells)
    ):  # Arrow reads true as 1.0 among floats
        try:
            array = pa.array(cells)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = None
        if array is not None and _depth(array.type) <= 2 and _plain(array.type):
            return array
    return pa.array([None if c is None else json.dumps(c).encode() for c in cells], pa.binary())


def _has_boolean(cell: Any) -> bool:
    if cell is None:
        return False
    kinds = set(map(type, cell))
    return bool in kinds or (
        list in kinds and any(_has_boolean(c) for c in cell if type(c) is list)
    )


def _depth(kind: pa.DataType) -> int:
    return 1 + _depth(kind.value_type) if pa.types.is_list(kind) else 0


def _plain(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind):
        kind = kind.value_type
    t = pa.types
    return bool(t.is_string(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_null(kind))
