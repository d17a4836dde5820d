"""Finds the columns of one file without reading all of its rows."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.formats import jsonl, parquet
from heterrec_pipeline.reading.formats.text import lines
from heterrec_pipeline.reading.read import column_types
from heterrec_pipeline.reading.shaping.cells import Kinds, json_type, json_words
from heterrec_pipeline.reading.shaping.json_rows import flat_rows, member
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_pipeline.reading.shaping.shape import Request
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError
from heterrec_schemas.values import clean_text

SAMPLE_LINES = 10_000
"""Maximum number of lines sampled of a JSON lines file."""


class RowTypes(NamedTuple):
    """The types in which expressions see the columns that they read in a row, and those of them with blank texts."""

    kinds: Kinds
    blank: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileSchema:
    """The columns of one file; of JSON lines those of a sample.

    Attributes:
        file: the file.
        types: column to type.
        has_rows: whether the file has rows, as far as that is known.
        whole: whether the sample is the whole file.
        mixed_cells: as in `TableSchema`.
        seen: of JSON lines, the types in which expressions see the columns that they read, by row, with the number of rows.
    """

    file: InputFile
    types: dict[str, pa.DataType]
    has_rows: bool = True
    whole: bool = True
    mixed_cells: dict[str, str] = field(default_factory=dict)
    seen: Mapping[RowTypes, int] = field(default_factory=dict)


def file_schema(file: InputFile) -> FileSchema:
    """The columns of a file.

    Raises:
        HeterrecError: it cannot be read.
    """
    if file.format == "parquet":
        schema, count = parquet.schema_and_rows(Split(file))
        return FileSchema(file, {f.name: f.type for f in schema}, has_rows=count > 0)
    if (types := column_types(file)) is not None:
        return FileSchema(file, types)
    lines_read = enumerate(islice(_json_lines(file), SAMPLE_LINES + 1))
    rows = {number: row for number, row in lines_read if isinstance(row, dict)}
    names = list(dict.fromkeys(k for row in rows.values() for k in row))
    whole = len(rows) <= SAMPLE_LINES
    types, mixed = {}, {}
    for name in names:
        cells = {number: row.get(name) for number, row in rows.items() if number < SAMPLE_LINES}
        try:
            types[name] = jsonl.typed(list(cells.values()), name, file.name).type
        except SchemaMismatchError:  # objects: an error if the spec uses the column
            types[name] = pa.struct([])
        if any(map(jsonl.too_deep, cells.values())):  # the same
            types[name] = pa.struct([])
        if pa.types.is_binary(types[name]) or pa.types.is_struct(types[name]):
            mixed[name] = f"{file.name} row {_rarest_cell(cells)}"
    sample = [row for number, row in rows.items() if number < SAMPLE_LINES]
    return FileSchema(file, types, bool(rows), whole, mixed, _seen(file, sample))


def _seen(file: InputFile, rows: Sequence[Mapping[str, Any]]) -> Mapping[RowTypes, int]:
    """The combinations of types in which expressions see rows of JSON lines, with the number of rows."""
    columns = Request(file.source, ()).roots if file.source is not None else []
    folders = partition_values(file.name)
    found: Counter[RowTypes] = Counter()
    for row in rows if columns else rows[:1]:
        values = [folders[name] if name in folders else member(row, name) for name in columns]
        kinds = tuple(zip(columns, map(json_type, values), strict=True))
        blank = (name for name, value in zip(columns, values, strict=True) if _is_blank(value))
        found[RowTypes(kinds, tuple(blank))] += 1
    return found


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and clean_text(value) is None


@cache
def column_names(file: InputFile) -> frozenset[str]:
    """The columns of a file; of JSON lines those of a sample. Nothing of a file that cannot be read."""
    with suppress(HeterrecError):
        return frozenset(file_schema(file).types)
    return frozenset()


def _rarest_cell(cells: dict[int, object]) -> str:
    """Row and text of the first cell of the rarest shape (object, list or value)."""
    shapes = {
        number: type(cell) if isinstance(cell, dict | list) else object
        for number, cell in cells.items()
        if cell is not None
    }
    counts = Counter(shapes.values())
    number = min(shapes, key=lambda n: (counts[shapes[n]], n))
    return f"{number}: {json_words(cells[number])[:80]}"


@cache
def mentions(file: InputFile, column: str) -> bool:
    """Whether JSON lines contain the column's name; always for names that JSON may escape, and never for other files."""
    if file.format != "jsonl":
        return False
    if not column.isascii():
        return True
    # A dotted name may be that of a member of inner objects.
    names = {json.dumps(name).encode() for name in (column, column.rpartition(".")[2])}
    return any(name in line for block in lines(file) for line in block for name in names)


def _json_lines(file: InputFile) -> Iterator[object]:
    unnest = file.source.unnest if file.source else None
    names: set[str] = set()
    for block in lines(file):
        for line in block:
            if line and not line.isspace():
                parsed = jsonl.parse(line, file)
                if isinstance(parsed, dict):
                    yield from flat_rows(parsed, unnest, names)
                else:
                    yield parsed
