"""The type of a column whose type differs between files: the smallest one that holds the values of both.

Types form a semilattice, so that the result depends neither on the order of files nor on how they are grouped. Readers do not
cast to it: the value of a cell is the same in all types of a family, except for dates among timestamps.
"""

from collections.abc import Iterable

import pyarrow as pa

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.spec_lines import derived
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.values import is_binary, is_list, is_scalar, is_text

_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_ALL_INTEGERS = pa.decimal128(20, 0)
"""Holds both int64 and uint64."""
_MOST_DIGITS, _SHORT_DIGITS = 76, 38
"""Digits of Arrow's widest decimal, and of decimal128."""
_UNITS = ("s", "ms", "us")


def unified(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The smallest type that holds the values of both; None if they are values of different kinds, such as text and numbers.

    Instants count, whatever their unit and zone (UTC if these differ). Integers and floats unify to float64, which is a
    name for both here: no reader rounds an integer.
    """
    t = pa.types
    if one == other or t.is_null(other):
        return one
    if t.is_null(one):
        return other
    plain = (_plain(one), _plain(other))
    if plain != (one, other):
        return unified(*plain)
    for fits, join in _FAMILIES:
        if fits(one) and fits(other):
            return join(one, other)
    return None


def unified_of(kinds: Iterable[pa.DataType]) -> pa.DataType | None:
    """`unified` for any number of types."""
    found: pa.DataType | None = pa.null()
    for kind in kinds:
        found = None if found is None else unified(found, kind)
    return found


def mixed_of(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """The type of cells of different kinds: text holds scalars, binary (JSON) also lists, and struct means objects."""
    every = list(kinds)
    if any(map(pa.types.is_struct, every)):
        return pa.struct([])
    return pa.string() if all(map(is_scalar, every)) else pa.binary()


def of_dates_and_times(kinds: Iterable[pa.DataType]) -> bool:
    """Whether some of these types of one column, or of the elements of its lists, are dates, and others timestamps."""
    leaves = list(map(_leaf, kinds))
    return any(map(pa.types.is_date, leaves)) and any(map(pa.types.is_timestamp, leaves))


def _leaf(kind: pa.DataType) -> pa.DataType:
    kind = _plain(kind)
    return _leaf(kind.value_type) if is_list(kind) else kind


def dates_as_times(cells: pa.Array) -> pa.Array:
    """Cells, or lists of them, with dates as the timestamps of their midnights in UTC; others as they are."""
    return cells.cast(_times(cells.type)) if pa.types.is_date(_leaf(cells.type)) else cells


def _times(kind: pa.DataType) -> pa.DataType:
    kind = _plain(kind)
    return pa.large_list(_times(kind.value_type)) if is_list(kind) else pa.timestamp("s")


def as_in_source(
    cells: pa.Array, column: str, file: InputFile, others: pa.DataType | None
) -> pa.Array:
    """The cells of a column as the files of its source have it together.

    Args:
        cells: the cells.
        column: the column.
        file: the file.
        others: its type in the files that were compared; None if it need not be that.

    Raises:
        SchemaMismatchError: it has another type than in the files that were compared.
    """
    if others is not None:
        _check_type(column, cells.type, file, others)
    return dates_as_times(cells) if column in file.dates_as_times else cells


def _check_type(column: str, kind: pa.DataType, file: InputFile, others: pa.DataType) -> None:
    """Refuse a type that the files of the source which were compared before the build do not have."""
    both = unified(others, kind)
    # Dates and times are different texts, unless all files are known to have both.
    mixed = column not in file.dates_as_times and of_dates_and_times([others, kind])
    if both is None or mixed:
        raise SchemaMismatchError(
            f"column {column!r} has another type in {file.name} than in other files of its source",
            got=f"{kind} and {others}",
            expected="one type in all files of a source",
            todo=cast_todo(column, [others, kind], file),
        )


def cast_todo(column: str, kinds: Iterable[pa.DataType], file: InputFile) -> str:
    """What to write into the spec for a column of different kinds of values in the files of a source."""
    leaves = [k for k in kinds if not pa.types.is_null(k)]
    scalars = all(is_scalar(k) or pa.types.is_decimal(k) for k in leaves)
    if file.source is not None and column in file.source.columns:
        if any(map(is_list, leaves)):
            return "Write an expression that gives single values of lists, too, such as ARRAY_TO_STRING or ARRAY_GET."
        return "Write CAST(... AS VARCHAR) around its expression, or CAST(... AS DOUBLE) if it is a number."
    if not scalars or any(_is_moment(_plain(k)) for k in leaves):
        return "Write the column in one way in all files, or exclude some of the files from source.path."
    cast = derived(column, "CAST({} AS VARCHAR)")
    return f"Write into the source {cast}, or CAST(... AS DOUBLE) if it holds numbers."


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without a dictionary or an extension."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return _plain(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_integer(one) and t.is_integer(other):
        return _integer(one, other)
    if t.is_floating(one) and t.is_floating(other):
        return max(one, other, key=_FLOATS.index)
    if t.is_floating(one) or t.is_floating(other):
        return pa.float64()
    (whole, scale), (more, other_scale) = map(_decimal_digits, (one, other))
    scale = max(scale, other_scale)
    digits = max(whole, more) + scale
    if digits > _MOST_DIGITS:
        return pa.float64()
    return (pa.decimal128 if digits <= _SHORT_DIGITS else pa.decimal256)(digits, scale)


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    signed = [k for k in (one, other) if k in _SIGNED]
    if len(signed) != 1:
        return max(one, other, key=(_SIGNED if signed else _UNSIGNED).index)
    (unsigned,) = (k for k in (one, other) if k in _UNSIGNED)
    at = max(_SIGNED.index(signed[0]), _UNSIGNED.index(unsigned) + 1)
    return _SIGNED[at] if at < len(_SIGNED) else _ALL_INTEGERS


def _decimal_digits(kind: pa.DataType) -> tuple[int, int]:
    """Digits before and after the point of an integer or a decimal."""
    if pa.types.is_integer(kind):
        return _ALL_INTEGERS.precision, 0
    scale = max(0, kind.scale)
    return kind.precision - kind.scale, scale


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _moment(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_date(one) and t.is_date(other):
        return pa.date32()
    times = [k for k in (one, other) if t.is_timestamp(k)]
    units = {k.unit for k in times}
    # Nanoseconds have too small a range for the others, and microseconds are the finest that count.
    if "ns" in units and (len(units) > 1 or len(times) < 2):
        units = {"us"}
    unit = max(units, key=(*_UNITS, "ns").index)
    zones = {k.tz for k in times}
    return pa.timestamp(unit, zones.pop() if len(zones) == 1 else "UTC")


def _list(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    inner = unified(one.value_type, other.value_type)
    if inner is None:
        return None
    sizes = {k.list_size if pa.types.is_fixed_size_list(k) else None for k in (one, other)}
    if None not in sizes and len(sizes) == 1:
        return pa.list_(inner, sizes.pop())
    return pa.list_(inner) if all(map(pa.types.is_list, (one, other))) else pa.large_list(inner)


def _struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields = []
    for name in sorted({f.name for f in (*one, *other)}):
        kind = unified_of(f.type for kind in (one, other) for f in kind if f.name == name)
        if kind is None:
            return None
        fields.append(pa.field(name, kind))
    return pa.struct(fields)


def _map(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    key, item = unified(one.key_type, other.key_type), unified(one.item_type, other.item_type)
    return None if key is None or item is None else pa.map_(key, item)


_FAMILIES = (
    (_is_number, _number),
    (is_text, lambda one, other: pa.large_string()),
    (_is_moment, _moment),
    (pa.types.is_time, lambda one, other: pa.time64("us")),
    (pa.types.is_duration, lambda one, other: pa.duration("us")),
    (is_binary, lambda one, other: pa.large_binary()),
    (is_list, _list),
    (pa.types.is_struct, _struct),
    (pa.types.is_map, _map),
)
"""Kinds of values, each with the join of two different types of it."""
