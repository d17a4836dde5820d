"""Evaluates SQL expressions over batches; a row for which one fails is found, and takes no other row with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.worker_errors import is_panic
from heterrec_schemas.feature_spec.expressions import parse_expression
from heterrec_schemas.rejects import VALUE_CHARACTERS
from heterrec_schemas.values import is_text, value_text

_RESULT = "\x1fresult"
"""A column name that no input has."""
_FEW_ROWS = 8
"""Number of rows that are tried one by one, if they fail together."""
Mask = npt.NDArray[np.bool_]


class Evaluated(NamedTuple):
    """The results of an expression in n rows.

    Attributes:
        values: [n] the results; null where it fails.
        failed: [n] whether it fails.
    """

    values: pl.Series
    failed: Mask


def result(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series:
    """The results of an expression, one for each row, also where it reads no column.

    Raises:
        PolarsError: it fails for some row, or for the types of the columns.
    """
    # A column of its own gives the frame its height, if the expression reads none.
    return frame.with_columns(expression.alias(_RESULT))[_RESULT]


def evaluate(frame: pl.DataFrame, text: str) -> Evaluated:
    """The results of an expression in the rows of a frame.

    Args:
        frame: n rows with the columns that the expression reads.
        text: the expression, whose types fit.
    """
    expression = parse_expression(text)
    try:
        return Evaluated(result(frame, expression), np.zeros(len(frame), np.bool_))
    except BaseException as error:
        if not _is_failure(error):
            raise
    names = list(dict.fromkeys(expression.meta.root_names()))
    kind = result(frame.clear(), expression).dtype
    # The result depends on these cells alone, so each combination is tried once.
    rows = frame.select(names).with_row_index(_RESULT)
    groups = rows.group_by(names, maintain_order=True).agg(_RESULT)
    bad = _failures(groups.select(names), expression)
    failed = np.zeros(len(frame), np.bool_)
    failed[groups[_RESULT].filter(pl.Series(bad)).explode().drop_nulls().to_numpy()] = True
    good = np.flatnonzero(~failed)
    values = pl.Series(np.full(len(frame), None), dtype=kind)
    if len(good):
        found = result(frame[good], expression)
        at = np.full(len(frame), len(good), np.int64)
        at[good] = np.arange(len(good))
        values = found.extend(pl.Series([None], dtype=found.dtype)).gather(at)
    return Evaluated(values, failed)


def _is_failure(error: BaseException) -> bool:
    return isinstance(error, pl.exceptions.PolarsError) or is_panic(error)


def _fails(frame: pl.DataFrame, expression: pl.Expr) -> bool:
    try:
        result(frame, expression)
    except BaseException as error:
        if not _is_failure(error):
            raise
        return True
    return False


def _failures(frame: pl.DataFrame, expression: pl.Expr) -> Mask:
    """[n] Whether an expression fails in each of n rows: some part of it does, or itself for the results of its parts."""
    bad = np.zeros(len(frame), np.bool_)
    if not _fails(frame, expression):
        return bad
    # The branches of CASE are evaluated only for the rows that take them, so its parts tell nothing.
    parts = () if ".when(" in str(expression) else expression.meta.pop()
    for part in parts:
        if _fails(frame.clear(), part):  # no column, such as the list after IN
            continue
        of_part = _failures(frame, part)
        # A part that is never evaluated takes no row along.
        if of_part.any() and _fails(frame[int(of_part.argmax())], expression):
            bad |= of_part
    good = np.flatnonzero(~bad)
    rest = frame[good]
    if len(parts) == 1 and _is_cast_to_number(rest, expression, parts[0]):
        cells = result(rest, parts[0])
        kind = result(frame.clear(), expression).dtype
        bad[good] = (cells.is_not_null() & cells.cast(kind, strict=False).is_null()).to_numpy()
        return bad
    bad[good] = _misfits(len(good), lambda at, stop: _fails(rest[at:stop], expression))
    return bad


def _is_cast_to_number(frame: pl.DataFrame, expression: pl.Expr, part: pl.Expr) -> bool:
    """Whether an expression is the cast of a part to numbers, which fails just where a loose cast makes a null."""
    before, kind = (result(frame.clear(), e).dtype for e in (part, expression))
    plain = kind.is_numeric() and not before.is_nested()
    return plain and expression.meta.eq(part.cast(kind)) and not _fails(frame, part)


def _misfits(count: int, fails: Callable[[int, int], bool]) -> Mask:
    """[count] The rows for which something fails, found by halves.

    Args:
        count: number of rows.
        fails: whether it fails for rows from one up to another.
    """
    found = np.zeros(count, np.bool_)
    spans = [(0, count)] if count else []
    while spans:
        at, stop = spans.pop()
        if not fails(at, stop):
            continue
        if stop - at == 1:
            found[at] = True
        elif stop - at <= _FEW_ROWS:
            spans += [(k, k + 1) for k in range(at, stop)]
        else:
            half = (at + stop) // 2
            spans += [(at, half), (half, stop)]
    return found


def cells_in_words(frame: pl.DataFrame, text: str, at: int) -> str:
    """The cells of a row that an expression reads, for `rejects/`."""
    row = frame.row(at, named=True)
    names = list(dict.fromkeys(parse_expression(text).meta.root_names()))
    if len(names) == 1:
        return _word(row[names[0]])[:VALUE_CHARACTERS]
    return ", ".join(f"{name}: {_word(row[name])}" for name in names)[:VALUE_CHARACTERS]


def _word(cell: object) -> str:
    try:
        return value_text(cell) or ""
    except (TypeError, ValueError):
        return str(cell)


def as_polars(columns: Mapping[str, pa.Array], height: int) -> pl.DataFrame:
    """Columns of a fixed type as a frame; without columns, a frame of the height with a column of nulls."""
    if not columns:
        return pl.DataFrame({_RESULT: pl.Series([None] * height, dtype=pl.Null)})
    return pl.DataFrame({name: pl.from_arrow(_known(array)) for name, array in columns.items()})


def _known(array: pa.Array) -> pa.Array:
    """A column of a type that Polars has."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_float16(array.type):
        return array.cast(pa.float32())
    if pa.types.is_fixed_size_binary(array.type):
        return array.cast(pa.large_binary())
    return array


def fitted(column: pa.Array, kind: pa.DataType, *, empty_is_null: bool) -> tuple[pa.Array, Mask]:
    """A column of one file in the type that it has in all files, and the cells that do not fit it exactly.

    Args:
        column: [n] the cells.
        kind: the type.
        empty_is_null: whether empty text means a missing value, as in CSV.

    Returns:
        [n] The cells of that type, null where they do not fit, and whether each does not.
    """
    none = np.zeros(len(column), np.bool_)
    if is_uuid(column.type):
        column = _uuid_texts(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if empty_is_null and is_text(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    kind = expression_type(kind)
    if column.type.equals(kind):
        return column, none
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind), none
    try:
        return column.cast(kind), none
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    misfits = _misfits(len(column), lambda at, stop: not _casts(column[at:stop], kind))
    if misfits.all():
        return pa.nulls(len(column), kind), misfits
    return column.take(pa.array(np.arange(len(column)), mask=misfits)).cast(kind), misfits


def _casts(column: pa.Array, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def expression_type(kind: pa.DataType) -> pa.DataType:
    """The type in which expressions see a column.

    Plain text for dictionaries and UUIDs, and for a column that is all null; instants in UTC without a zone, since they could
    not be compared with literals otherwise.
    """
    if pa.types.is_dictionary(kind):
        return expression_type(kind.value_type)
    if is_uuid(kind) or pa.types.is_null(kind):
        return pa.large_string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    return kind


def is_uuid(kind: pa.DataType) -> bool:
    """Whether a column holds UUIDs, which expressions see as text."""
    return isinstance(kind, pa.BaseExtensionType) and "uuid" in kind.extension_name


def _uuid_texts(column: pa.Array) -> pa.Array:
    cells = (cell.hex() if cell is not None else None for cell in column.storage.to_pylist())
    texts = [
        None if c is None else "-".join((c[:8], c[8:12], c[12:16], c[16:20], c[20:])) for c in cells
    ]
    return pa.array(texts, pa.large_string())


def probe_frame(types: Mapping[str, pa.DataType], columns: Sequence[str]) -> pl.DataFrame:
    """Some rows with made-up cells, to try whether a result depends on other rows."""
    rows = len(_PROBES)
    cells = {}
    for k, name in enumerate(columns):
        texts = pl.Series([_PROBES[(i + 3 * k) % rows] for i in range(rows)], dtype=pl.String)
        cells[name] = _made(texts, expression_type(types[name]))
    return pl.DataFrame(cells)


_PROBES = (
    *("1", "2026-01-31", "x", "31/01/2026", None, "", "3.5", "-7", "N/A", "2026-01-31 10:00:00"),
    *(
        "true",
        "0",
        "9007199254740993",
        "é",
        " 5 ",
        "2026-01-31T10:00:00Z",
        "a,b|c",
        "{}",
        "[1]",
        "1e3",
    ),
)


_LATEST_MS = 4e12
"""A time in 2096, in milliseconds."""


def _made(texts: pl.Series, kind: pa.DataType) -> pl.Series:
    target = as_polars({"x": pa.nulls(0, kind)}, 0)["x"].dtype
    if target == pl.String:
        return texts
    numbers = texts.cast(pl.Float64, strict=False)
    if target.is_temporal():  # times of later years than Polars can write
        numbers = numbers.clip(-_LATEST_MS, _LATEST_MS)
    if target.is_numeric() or target == pl.Boolean or target.is_temporal():
        return numbers.cast(pl.Int64, strict=False).cast(target, strict=False)
    if target == pl.Binary:
        return texts.cast(pl.Binary)
    return pl.Series([None] * len(texts), dtype=target)


def depends_on_other_rows(frame: pl.DataFrame, expression: pl.Expr) -> bool:
    """Whether some row of a probe has another result among others than alone."""
    alone = {at: _tried(frame[at : at + 1], expression) for at in range(len(frame))}
    kept = [at for at, found in alone.items() if found is not None]
    if not kept:
        return False
    expected = pl.concat(found for found in alone.values() if found is not None)
    order = np.random.default_rng(0).permutation(len(kept))
    together = _tried(frame[kept], expression)
    shuffled = _tried(frame[np.array(kept)[order]], expression)
    if together is None or shuffled is None:
        return True
    if not (together.equals(expected) and shuffled.equals(expected.gather(order))):
        return True
    # Others may not make up for what fails alone.
    failing = [at for at, found in alone.items() if found is None]
    return any(_tried(frame[[*kept, at]], expression) is not None for at in failing)


def _tried(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series | None:
    """The results of an expression; None if it fails."""
    try:
        return result(frame, expression)
    except BaseException as error:
        if not _is_failure(error):
            raise
        return None
