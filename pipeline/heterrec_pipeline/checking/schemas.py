"""Finds the columns of a table's files without reading all of their rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import pyarrow as pa

from heterrec_pipeline.checking.file_schemas import (
    FileSchema,
    column_names,
    file_schema,
    mentions,
)
from heterrec_pipeline.checking.hidden import NOTHING_HIDDEN, Hidden
from heterrec_pipeline.reading.column_types import (
    cast_todo,
    mixed_of,
    of_dates_and_times,
    unified,
    unified_of,
)
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.shaping.nested import with_map_keys
from heterrec_pipeline.reading.shaping.shape import source_types
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError
from heterrec_schemas.values import is_scalar

MAX_FILES = 64
"""Maximum number of files compared before the build, evenly spread; readers check the rest."""


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table: those that any of its files has.

    Attributes:
        types: column to the type that holds the values of all files; CSV columns are text, JSON lines columns have the type
            of a sample. A column of several kinds is text if they are scalars.
        sampled: JSON lines files of which only a sample was read; other rows may have further columns.
        variants: columns of several types in different files, each with these types.
        mixed_cells: JSON lines columns with objects or cells of several shapes, each with a cell of the rarest shape.
        differing: columns whose types in two files cannot be combined, each with the error if the spec uses it.
        lacking: columns that some files with rows lack, as far as these were read, each with the files.
        dates_as_times: columns with dates in some files, and timestamps in others.
        rest: the files that were not compared.
        hidden: the names of columns that messages must not repeat.
        derived: the expressions of the source by the columns that they derive.
    """

    types: dict[str, pa.DataType]
    sampled: tuple[InputFile, ...] = ()
    variants: dict[str, tuple[pa.DataType, ...]] = field(default_factory=dict)
    mixed_cells: dict[str, str] = field(default_factory=dict)
    differing: dict[str, SchemaMismatchError] = field(default_factory=dict)
    lacking: dict[str, tuple[InputFile, ...]] = field(default_factory=dict)
    dates_as_times: frozenset[str] = frozenset()
    rest: tuple[InputFile, ...] = ()
    hidden: Hidden = NOTHING_HIDDEN
    derived: dict[str, str] = field(default_factory=dict)

    def has(self, column: str) -> bool:
        """Whether any file has the column; searches unsampled rows and files that were not compared if necessary."""
        return (
            column in self.types
            or any(mentions(f, column) for f in self.sampled)
            or any(column in column_names(f) or mentions(f, column) for f in self.rest)
        )

    def without(self, column: str) -> str | None:
        """The name of a compared file that lacks a column although it has rows; None if there is none."""
        absent = (
            file.name
            for file in self.lacking.get(column, ())
            if not (file in self.sampled and mentions(file, column))
        )
        return next(absent, None)

    def kinds(self, column: str) -> tuple[pa.DataType, ...]:
        """The types of a column in the files; empty if it is unknown."""
        one = (self.types[column],) if column in self.types else ()
        return self.variants.get(column, one)


def schemas_of(
    files: tuple[InputFile, ...], problems: list[HeterrecError], named: Iterable[str] = ()
) -> list[FileSchema]:
    """The columns of the files of a table, of at most `MAX_FILES` of them.

    Of a file without rows only the names of columns count.

    Args:
        files: the files.
        problems: takes the errors of files that cannot be read.
        named: names that may be keys of maps.
    """
    found: list[FileSchema] = []
    for file in _compared(files):
        try:
            one = file_schema(file)
            types = with_map_keys(source_types(file, one.types), named)
            found.append(replace(one, types=types))
        except HeterrecError as error:
            problems.append(error)
    if any(f.has_rows for f in found):
        nothing = pa.null()
        found = [
            f if f.has_rows else replace(f, types=dict.fromkeys(f.types, nothing)) for f in found
        ]
    return found


def combined(
    files: tuple[InputFile, ...], found: Sequence[FileSchema], hidden: Hidden = NOTHING_HIDDEN
) -> TableSchema:
    """The columns of a table.

    The result depends neither on the order of the files nor on how rows are distributed over them.

    Args:
        files: the files.
        found: the columns of some of them.
        hidden: the names of columns that messages must not repeat.
        derived: the expressions of the source by the columns that they derive.
    """
    compared = set(_compared(files))
    mixed: dict[str, str] = {}
    for one in reversed(found):
        mixed |= one.mixed_cells
    types: dict[str, pa.DataType] = {}
    variants: dict[str, tuple[pa.DataType, ...]] = {}
    differing: dict[str, SchemaMismatchError] = {}
    lacking: dict[str, tuple[InputFile, ...]] = {}
    dates: set[str] = set()
    for column in dict.fromkeys(c for f in found for c in f.types):
        cells = [(f.file, f.types[column]) for f in found if column in f.types]
        types[column] = _combined(column, cells, mixed, differing)
        if of_dates_and_times(kind for _, kind in cells):
            dates.add(column)
        strict = dict.fromkeys(k for file, k in cells if file.format != "jsonl")
        kinds = tuple(k for k in strict if not pa.types.is_null(k))
        if len(kinds) > 1:
            variants[column] = kinds
        if without := tuple(f.file for f in found if f.has_rows and column not in f.types):
            lacking[column] = without
    return TableSchema(
        types,
        sampled=tuple(f.file for f in found if not f.whole),
        variants=variants,
        mixed_cells=mixed,
        differing=differing,
        lacking=lacking,
        dates_as_times=frozenset(dates),
        rest=tuple(file for file in files if file not in compared),
        hidden=hidden,
    )


def with_folders(
    schema: TableSchema, files: tuple[InputFile, ...], folders: Sequence[str]
) -> TableSchema:
    """The schema with the columns of folders that only files have which are not read: all files that are read lack them.

    Args:
        schema: the columns of the files.
        files: the files.
        folders: the columns of the folders of all files of the source.
    """
    new = [c for c in folders if c not in schema.types] if schema.types else []
    return replace(
        schema,
        types=schema.types | dict.fromkeys(new, pa.string()),
        lacking=schema.lacking | dict.fromkeys(new, files),
    )


def _compared(files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    """At most `MAX_FILES` files, evenly spread, with the first and the last one."""
    if len(files) <= MAX_FILES:
        return files
    steps = MAX_FILES - 1
    return tuple(files[k * (len(files) - 1) // steps] for k in range(MAX_FILES))


def _combined(
    column: str,
    cells: list[tuple[InputFile, pa.DataType]],
    mixed: dict[str, str],
    differing: dict[str, SchemaMismatchError],
) -> pa.DataType:
    """The type of a column, from its type in each file; adds the error if there is none that holds all values."""
    lines = [(file, kind) for file, kind in cells if file.format == "jsonl"]
    of_lines = unified_of(kind for _, kind in lines)
    if of_lines is None:  # whose readers take cells of any kind
        of_lines = mixed_of(kind for _, kind in lines)
        if not is_scalar(of_lines):
            known, kind, (_, file) = _conflict(lines)
            mixed.setdefault(column, f"{known}, and in {file.name} {kind}")
    strict = [(file, kind) for file, kind in cells if file.format != "jsonl"]
    kinds = [*(kind for _, kind in strict), of_lines]
    whole = unified_of(kinds)
    if whole is not None:
        return whole
    strict += [(file, of_lines) for file, _ in lines[:1]]
    one, other, both = _conflict(sorted(strict, key=lambda cell: cell[0].name))
    differing[column] = SchemaMismatchError(
        f"column {column!r} has different types: {both[0].name} and {both[1].name}",
        got=f"{one} and {other}",
        expected="one type in all files of a source",
        todo=cast_todo(column, kinds, cells[0][0]),
    )
    return mixed_of(kinds)


def _conflict(
    cells: list[tuple[InputFile, pa.DataType]],
) -> tuple[pa.DataType, pa.DataType, tuple[InputFile, InputFile]]:
    """The first two types that cannot be combined, and their files."""
    return next(
        (one, other, (file, another))
        for (file, one), (another, other) in combinations(cells, 2)
        if unified(one, other) is None
    )


def together(
    files: tuple[InputFile, ...], schema: TableSchema, required: Sequence[str], used: Sequence[str]
) -> tuple[InputFile, ...]:
    """The files of a table with what a reader of one of them has to know of the others.

    Args:
        files: the files.
        schema: their columns.
        required: the columns that each file must have.
        used: all columns that are read.
    """
    dates = tuple(c for c in used if c in schema.dates_as_times)
    types = tuple((c, schema.types[c]) for c in used if schema.rest and c in schema.types)
    return tuple(
        replace(f, required=tuple(required), dates_as_times=dates, known_types=types) for f in files
    )
