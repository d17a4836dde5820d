"""Finds the columns of a table's files without reading all of their rows."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

import pyarrow as pa

from heterrec_pipeline.reading import avro, csv, jsonl, orc, parquet
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.text import lines
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError
from heterrec_schemas.values import is_list, is_scalar

SAMPLE_LINES = 10_000
"""Maximum number of lines sampled of a JSON lines file."""
MAX_FILES = 64
"""Maximum number of files compared before the build; readers check the rest."""


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table.

    Attributes:
        types: column to Arrow type; CSV columns are text, JSON lines columns have the type of a sample.
        sampled: JSON lines files of which only a sample was read; other rows may have further columns.
        lacking: columns that only some files have, each with a file that lacks it.
        mixed_cells: JSON lines columns with objects or cells of several shapes, each with a cell of the rarest shape.
        differing: columns whose types in two files cannot be combined, each with the error if the spec uses it.
        paths: the names of the files.
    """

    types: dict[str, pa.DataType]
    sampled: tuple[InputFile, ...]
    lacking: dict[str, str] = field(default_factory=dict)
    mixed_cells: dict[str, str] = field(default_factory=dict)
    differing: dict[str, SchemaMismatchError] = field(default_factory=dict)
    paths: tuple[str, ...] = ()

    def has(self, column: str) -> bool:
        """Whether the column exists; searches the unsampled rows for its name if necessary."""
        return column in self.types or any(_mentions(f, column) for f in self.sampled)


def table_schema(files: tuple[InputFile, ...], problems: list[HeterrecError]) -> TableSchema:
    """The columns that every file of a table has; files that cannot be read are added to `problems`."""
    types: dict[str, pa.DataType] | None = None
    sampled = []
    lacking: dict[str, str] = {}
    mixed: dict[str, str] = {}
    differing: dict[str, SchemaMismatchError] = {}
    for file in files[:MAX_FILES]:
        try:
            found, whole = _file_types(file, mixed)
        except HeterrecError as error:
            problems.append(error)
            continue
        if not whole:
            sampled.append(file)
        if types is None or file.format == "jsonl":
            types = _mixed(types or {}, found, file, mixed)
            continue
        lacking |= {c: file.name for c in types if c not in found}
        lacking |= {c: files[0].name for c in found if c not in types and c not in lacking}
        for column, kind in found.items():
            if column in types and not _compatible(types[column], kind):
                differing.setdefault(
                    column,
                    SchemaMismatchError(
                        f"column {column!r} has different types: {files[0].name} and {file.name}",
                        got=f"{types[column]} and {kind}",
                        expected="one type in all files of a source",
                    ),
                )
        types = {
            c: found[c] if pa.types.is_null(t) and c in found else t
            for c, t in types.items()
            if c not in lacking
        }
    paths = tuple(f.name for f in files)
    return TableSchema(types or {}, tuple(sampled), lacking, mixed, differing, paths)


def _file_types(file: InputFile, mixed: dict[str, str]) -> tuple[dict[str, pa.DataType], bool]:
    if file.format == "parquet":
        schema = parquet.schema(Split(file))
        return {f.name: f.type for f in schema}, True
    if file.format in ("avro", "orc"):
        schema = avro.schema(file) if file.format == "avro" else orc.schema(file)
        return {f.name: f.type for f in schema}, True
    if file.format == "csv":
        return {name: pa.string() for name in csv.header(file)}, True
    sample = enumerate(islice(_json_lines(file), SAMPLE_LINES + 1))
    rows = {number: row for number, row in sample if isinstance(row, dict)}
    names = list(dict.fromkeys(k for row in rows.values() for k in row))
    whole = len(rows) <= SAMPLE_LINES
    types = {}
    for name in names:
        cells = {number: row.get(name) for number, row in rows.items() if number < SAMPLE_LINES}
        try:
            types[name] = jsonl.typed(list(cells.values()), name, file.name).type
        except (SchemaMismatchError, RecursionError):
            # Objects, or lists of many levels: an error if the spec uses the column.
            types[name] = pa.struct([])
        if pa.types.is_binary(types[name]) or pa.types.is_struct(types[name]):
            mixed.setdefault(name, f"{file.name} row {_rarest_cell(cells)}")
    return types, whole


def _rarest_cell(cells: dict[int, object]) -> str:
    """Row and text of the first cell of the rarest shape (object, list or value)."""
    shapes = {
        number: type(cell) if isinstance(cell, dict | list) else object
        for number, cell in cells.items()
        if cell is not None
    }
    counts = Counter(shapes.values())
    number = min(shapes, key=lambda n: (counts[shapes[n]], n))
    try:
        return f"{number}: {json.dumps(cells[number], ensure_ascii=False)[:80]}"
    except RecursionError:
        return f"{number}: a value of too many levels"


def lacks_column(file: InputFile, column: str) -> bool:
    """Whether a JSON lines file has rows, of which none contains the column's name."""
    rows = any(line.strip() for block in lines(file) for line in block)
    return rows and not _mentions(file, column)


@cache
def _mentions(file: InputFile, column: str) -> bool:
    """Whether a JSON lines file contains the column's name; always True for names that JSON may escape."""
    if not column.isascii():
        return True
    name = json.dumps(column).encode()
    return any(name in line for block in lines(file) for line in block)


def _json_lines(file: InputFile) -> Iterator[object]:
    for block in lines(file):
        for line in block:
            if line and not line.isspace():
                yield jsonl.parse(line, file)


def _mixed(
    types: dict[str, pa.DataType],
    found: dict[str, pa.DataType],
    file: InputFile,
    mixed: dict[str, str],
) -> dict[str, pa.DataType]:
    """The types of one JSON lines file that would contain the rows of both."""
    whole = dict(types)
    for column, kind in found.items():
        known = whole.get(column, pa.null())
        if pa.types.is_null(known) or pa.types.is_struct(kind):
            whole[column] = kind
        elif not _compatible(known, kind) and not pa.types.is_struct(known):
            scalars = is_scalar(known) and is_scalar(kind)
            whole[column] = pa.string() if scalars else pa.binary()
            if not scalars:
                mixed.setdefault(column, f"{known}, and in {file.name} {kind}")
    return whole


def _compatible(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether a column may have these types in two files of a table."""
    if pa.types.is_null(one) or pa.types.is_null(other):
        return True
    return _family(one) == _family(other)


def _family(kind: pa.DataType) -> str:
    """The name of a group of types that can be combined in one column."""
    t = pa.types
    if t.is_dictionary(kind):
        return _family(kind.value_type)
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return "number"
    if t.is_timestamp(kind):  # read as an instant, whatever its unit and zone
        return "timestamp"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "text"
    if is_list(kind):
        return f"list of {_family(kind.value_type)}"
    return str(kind)
