"""Nested columns: fields of structs and values of maps as columns with dotted names, and a row for each element of a list."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ELEMENTS = 1_000_000
"""Maximum number of elements of a list to unnest: element e of row r has the row number r * ELEMENTS + e."""


class Path(NamedTuple):
    """Where a column is: a column of the file, and the names of the fields (or keys of maps) inside it."""

    root: str
    fields: tuple[str, ...] = ()


def is_many(kind: pa.DataType) -> bool:
    """Whether cells are lists, of which a row for each element can be made."""
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def find_path(name: str, types: Mapping[str, pa.DataType]) -> Path | None:
    """Where a column is in a file; a column of that very name comes first. None if the file lacks it.

    Args:
        name: a name with or without dots.
        types: the columns of the file.
    """
    if name in types:
        return Path(name)
    parts = name.split(".")
    for k in range(len(parts) - 1, 0, -1):
        root = ".".join(parts[:k])
        if root in types and inner_type(types[root], tuple(parts[k:])) is not None:
            return Path(root, _fields(types[root], tuple(parts[k:])))
    return None


def inner_type(kind: pa.DataType, fields: Sequence[str]) -> pa.DataType | None:
    """The type of a field of structs, or of the value of a key of maps; None if there is no such field."""
    if not fields:
        return kind
    if pa.types.is_map(kind):
        key = ".".join(fields)
        return kind.item_type if key and _has_lookup(kind.key_type) else None
    if not pa.types.is_struct(kind):
        return None
    for k in range(len(fields), 0, -1):
        at = kind.get_field_index(".".join(fields[:k]))
        if at >= 0:
            return inner_type(kind.field(at).type, fields[k:])
    return None


def _fields(kind: pa.DataType, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The names on a path that exists, where a name may itself have dots."""
    if not fields:
        return ()
    if pa.types.is_map(kind):
        return (".".join(fields),)
    for k in range(len(fields), 0, -1):
        name = ".".join(fields[:k])
        at = kind.get_field_index(name)
        if at >= 0 and inner_type(kind.field(at).type, fields[k:]) is not None:
            return (name, *_fields(kind.field(at).type, fields[k:]))
    return ()


def _has_lookup(kind: pa.DataType) -> bool:
    """Whether `map_lookup` works on keys of a type; of the types of text, only these two."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def take_path(column: pa.Array, fields: Sequence[str]) -> pa.Array:
    """The cells at a path inside a column of structs or maps; null where something on the path is null."""
    for name in fields:
        if pa.types.is_map(column.type):
            key = pa.scalar(name, column.type.key_type)
            column = pc.map_lookup(column, key, "last")
        else:
            column = pc.struct_field(column, [column.type.get_field_index(name)])
    return column


def flattened(types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The columns of a file, and the fields of its structs by their dotted names."""
    found = dict(types)
    for name, kind in types.items():
        for field, inner in _leaves(name, kind):
            found.setdefault(field, inner)
    return found


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield f"{name}.{field.name}", field.type
            yield from _leaves(f"{name}.{field.name}", field.type)


def unnested(types: Mapping[str, pa.DataType], unnest: str) -> dict[str, pa.DataType] | None:
    """The columns after a list was unnested: an element has the name of the list; None if there is no such list."""
    path = find_path(unnest, types)
    kind = inner_type(types[path.root], path.fields) if path else None
    if kind is None or not is_many(kind):
        return None
    return {**types, unnest: kind.value_type}


def unnest_rows(
    lists: pa.Array, rows: npt.NDArray[np.int64]
) -> tuple[pa.Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A row for each element of n lists; a list that is null or empty gives none.

    Args:
        lists: [n] the lists.
        rows: [n] the numbers of their rows.

    Returns:
        [m] The elements, the positions of their lists, and the numbers of the new rows.
    """
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.large_list(lists.type.value_type))
    at = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    first = np.searchsorted(at, at)  # where the list of each element begins
    inside = np.arange(len(at), dtype=np.int64) - first
    return pc.list_flatten(lists), at, rows[at] * ELEMENTS + inside


def too_long(lists: pa.Array) -> npt.NDArray[np.int64]:
    """The positions of the lists with more elements than row numbers can tell apart."""
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.flatnonzero(sizes > ELEMENTS)


def with_map_keys(types: Mapping[str, pa.DataType], names: Iterable[str]) -> dict[str, pa.DataType]:
    """The columns, and those of some names that are keys of maps."""
    found = dict(types)
    for name in names:
        if name not in found and (path := find_path(name, types)) is not None:
            kind = inner_type(types[path.root], path.fields)
            if kind is not None:
                found[name] = kind
    return found
