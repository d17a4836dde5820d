"""The raw rows of a file with Arrow columns: constants of its folders, fields of structs, elements of lists."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_pipeline.reading.batches import (
    BadRow,
    BadText,
    Columns,
    ReadBatch,
    check_columns,
    columns_in,
    one_chunk,
)
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.formats.utf8 import without_bad_text
from heterrec_pipeline.reading.shaping.cells import Cells
from heterrec_pipeline.reading.shaping.nested import (
    ELEMENTS,
    Path,
    find_path,
    inner_type,
    is_many,
    take_path,
    too_long,
    unnest_rows,
)
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.rejects import Reason

Rows = npt.NDArray[np.int64]
Read = Callable[[Split, Columns], Iterator[ReadBatch]]


class RawRows(NamedTuple):
    """n rows of raw columns.

    Attributes:
        columns: the columns by name.
        rows: [n] the numbers of the rows.
        bad, short, bad_text: as in `ReadBatch`.
        seen: the columns that expressions read, as they see them.
        unseen: by column and position, the texts of cells that no expression can read.
    """

    columns: dict[str, pa.Array]
    rows: Rows
    bad: Sequence[BadRow]
    short: Sequence[BadRow]
    bad_text: BadText
    seen: Mapping[str, Cells] = MappingProxyType({})
    unseen: Mapping[str, Mapping[int, str]] = MappingProxyType({})


class _Places(NamedTuple):
    """Where the requested columns are.

    Attributes:
        columns: of columns of the file, their paths.
        folders: of columns of its folders, their values.
        elements: of columns of the elements of a list, their paths inside an element.
        absent: columns that the file lacks, and need not have: they are missing in all rows.
        unnested: the path of that list.
    """

    columns: dict[str, Path]
    folders: dict[str, str | None]
    elements: dict[str, tuple[str, ...]]
    absent: list[str]
    unnested: Path | None

    def roots(self, schema: pa.Schema) -> list[str]:
        """The columns of the file to read: at least one, which tells the number of rows."""
        paths = [*self.columns.values(), *([self.unnested] if self.unnested else [])]
        return list(dict.fromkeys(p.root for p in paths)) or schema.names[:1]


def arrow_rows(split: Split, names: Sequence[str], read: Read) -> Iterator[RawRows]:
    """The requested columns of a split.

    Args:
        split: the split.
        names: the columns, by the names that a spec uses.
        read: reads columns of the file.

    Raises:
        SchemaMismatchError: the file lacks a column, or the list to unnest.
    """
    places = _Places({}, {}, {}, [], None)

    def roots(schema: pa.Schema) -> list[str]:
        nonlocal places
        places = _places(split, names, schema)
        return places.roots(schema)

    for batch in read(split, roots):
        yield _flat(batch, places) if places.unnested is None else _by_element(batch, places)


def _places(split: Split, names: Sequence[str], columns: pa.Schema) -> _Places:
    file, schema = split.file, dict(zip(columns.names, columns.types, strict=True))
    folders = partition_values(file.name)
    places = _Places({}, {}, {}, [], None)
    unnest = file.source.unnest if file.source else None
    element: pa.DataType | None = None
    if unnest is not None:
        path = find_path(unnest, schema)
        if path is None:
            check_columns([unnest], columns.names, file.name)
            raise AssertionError(unnest)
        kind = inner_type(schema[path.root], path.fields)
        if kind is None or not is_many(kind):
            raise SchemaMismatchError(
                f"{file.name}: column {unnest!r} cannot be unnested", got=kind, expected="lists"
            )
        element, places = kind.value_type, places._replace(unnested=path)
    for name in dict.fromkeys(names):
        inside = _inside(name, unnest, element)
        found = find_path(name, schema) if inside is None else None
        if name in folders:
            places.folders[name] = folders[name]
        elif inside is not None:
            places.elements[name] = inside
        elif found is not None:
            places.columns[name] = found
        elif not columns_in(file, [name], columns):
            places.absent.append(name)
    return places


def _inside(name: str, unnest: str | None, element: pa.DataType | None) -> tuple[str, ...] | None:
    """The path of a column inside an element of the list; None for a column of another place."""
    if unnest is None or element is None:
        return None
    if name == unnest:
        return ()
    path = find_path(name, {unnest: element}) if name.startswith(f"{unnest}.") else None
    return path.fields if path else None


def _constant(value: str | None, count: int) -> pa.Array:
    return pa.nulls(count, pa.string()) if value is None else pa.repeat(pa.scalar(value), count)


def _flat(batch: ReadBatch, places: _Places) -> RawRows:
    columns = {
        n: take_path(one_chunk(batch.table, p.root), p.fields) for n, p in places.columns.items()
    }
    columns |= {n: _constant(value, len(batch.rows)) for n, value in places.folders.items()}
    columns |= {n: pa.nulls(len(batch.rows)) for n in places.absent}
    texts = {
        n: batch.bad_text[p.root] for n, p in places.columns.items() if p.root in batch.bad_text
    }
    nested = [n for n, p in places.columns.items() if p.fields]
    texts |= _without_bad_text(columns, nested, batch.rows)
    return RawRows(columns, batch.rows, batch.bad, batch.short, texts)


def _without_bad_text(columns: dict[str, pa.Array], names: Sequence[str], rows: Rows) -> BadText:
    """Replace cells of some columns that are not UTF-8 by null, which the readers do for columns of texts alone."""
    if not names:
        return {}
    record = pa.RecordBatch.from_arrays([columns[n] for n in names], names=list(names))
    record, texts = without_bad_text(record, rows)
    columns.update(zip(names, record.columns, strict=True))
    return texts


def _by_element(batch: ReadBatch, places: _Places) -> RawRows:
    """A row for each element of the list."""
    assert places.unnested is not None
    root = places.unnested.root
    lists = take_path(one_chunk(batch.table, root), places.unnested.fields)
    bad = [b._replace(row=b.row * ELEMENTS) for b in batch.bad]
    bad += [
        BadRow(row * ELEMENTS, Reason.NOT_UTF8, text, root)
        for row, text in batch.bad_text.get(root, {}).items()
    ]
    if len(long := too_long(lists)):
        many = f"more than {ELEMENTS:,} elements"
        bad += [
            BadRow(int(batch.rows[at]) * ELEMENTS, Reason.MALFORMED_ROW, many, root)
            for at in long.tolist()
        ]
        keep = np.ones(len(lists), np.bool_)
        keep[long] = False
        lists = lists.take(pa.array(np.arange(len(lists)), mask=~keep))
    elements, at, rows = unnest_rows(lists, batch.rows)
    where = pa.array(at)
    columns = {n: take_path(elements, fields) for n, fields in places.elements.items()}
    for name, path in places.columns.items():
        columns[name] = take_path(one_chunk(batch.table, path.root), path.fields).take(where)
    columns |= {n: _constant(value, len(rows)) for n, value in places.folders.items()}
    columns |= {n: pa.nulls(len(rows)) for n in places.absent}
    texts: dict[str, Mapping[int, str | None]] = {
        n: {
            row: batch.bad_text[p.root][row // ELEMENTS]
            for row in rows.tolist()
            if row // ELEMENTS in batch.bad_text[p.root]
        }
        for n, p in places.columns.items()
        if p.root in batch.bad_text
    }
    nested = [*places.elements, *(n for n, p in places.columns.items() if p.fields)]
    texts |= _without_bad_text(columns, nested, rows)
    short = {b.row: b for b in batch.short}
    of_short = [(row, short[row // ELEMENTS]) for row in rows.tolist() if row // ELEMENTS in short]
    met = {b.row for _, b in of_short}
    bad += [b._replace(row=b.row * ELEMENTS) for b in batch.short if b.row not in met]
    return RawRows(columns, rows, bad, [b._replace(row=row) for row, b in of_short], texts)
