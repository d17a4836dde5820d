"""JSON lines: scalars keep their JSON type; a line that is no object is set aside."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from heterrec_pipeline.reading.batches import BadRow, Batch
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.text import bad_utf8, lines
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import value_text

_EXACT = 2**53
_INT64 = range(-(2**63), 2**63)


def read(file: InputFile, columns: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns of a JSON lines file, in batches; an absent key is null.

    Raises:
        DataError: the file cannot be read, or is no UTF-8.
        SchemaMismatchError: a cell of a wanted column is an object.
    """
    next_row = 0
    for block in lines(file):
        cells: list[list[Any]] = [[] for _ in columns]
        rows: list[int] = []
        bad: list[BadRow] = []
        for line in block:
            if not line or line.isspace():
                continue
            parsed = parse(line, file)
            if isinstance(parsed, dict):
                for column, values in zip(columns, cells, strict=True):
                    values.append(parsed.get(column))
                rows.append(next_row)
            else:
                bad.append(BadRow(next_row, Reason.MALFORMED_ROW, _shown(line)))
            next_row += 1
        table = pa.table(
            [typed(v, c, file.name) for c, v in zip(columns, cells, strict=True)],
            names=list(columns),
        )
        yield Batch(table, np.array(rows, dtype=np.int64), bad)


def parse(line: bytes, file: InputFile) -> Any:
    """One line as Python values; None when it is no JSON.

    Raises:
        DataError: the line is no UTF-8.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        # The standard library also reads NaN, Infinity and integers beyond 64 bits.
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise bad_utf8(file) or unreadable(file, error) from None
    except (json.JSONDecodeError, RecursionError):
        return None


def _shown(line: bytes) -> str:
    return line[:400].decode("utf-8", errors="replace")


def typed(cells: list[Any], column: str, file: str) -> pa.Array:
    """The narrowest Arrow column that holds the cells exactly; text where they mix.

    Whatever the cut into batches, the union over batches of what `column_text` sees is the same.
    """
    kinds = {type(c) for c in cells}
    kinds.discard(type(None))
    if dict in kinds:
        raise SchemaMismatchError(
            f"{file}: column {column!r} holds objects",
            got=next(str(c)[:80] for c in cells if isinstance(c, dict)),
            expected="texts, numbers, booleans, or lists of them",
        )
    if not kinds:
        return pa.nulls(len(cells))
    if kinds == {str}:
        return pa.array(cells, pa.string())
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    if list in kinds:
        return _typed_lists(cells, kinds)
    if kinds == {int} and all(c is None or c in _INT64 for c in cells):
        return pa.array(cells, pa.int64())
    if kinds <= {int, float} and all(not isinstance(c, int) or abs(c) <= _EXACT for c in cells):
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    return pa.array([value_text(c) for c in cells], pa.string())


def _typed_lists(cells: list[Any], kinds: set[type]) -> pa.Array:
    """Lists of numbers or texts, of one or two levels; JSON as binary when they are neither."""
    if kinds == {list}:
        try:
            array = pa.array(cells)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = None
        if array is not None and _depth(array.type) <= 2 and _plain(array.type):
            return array
    return pa.array([None if c is None else json.dumps(c).encode() for c in cells], pa.binary())


def _depth(kind: pa.DataType) -> int:
    return 1 + _depth(kind.value_type) if pa.types.is_list(kind) else 0


def _plain(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind):
        kind = kind.value_type
    t = pa.types
    return bool(t.is_string(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_null(kind))
