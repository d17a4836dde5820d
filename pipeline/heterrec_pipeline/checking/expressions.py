"""Checks the expressions of a source against the columns of its files; errors are added to a list."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.columns import missing_column
from heterrec_pipeline.checking.file_schemas import FileSchema, RowTypes
from heterrec_pipeline.checking.schemas import TableSchema
from heterrec_pipeline.reading.column_types import mixed_of, unified_of
from heterrec_pipeline.reading.shaping.cells import NOTHING, Kinds, type_in_file
from heterrec_pipeline.reading.shaping.fit import Fit, Problem, fit_with_blanks
from heterrec_pipeline.reading.shaping.shape import WHERE, Request
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.feature_spec.expressions import columns_of
from heterrec_schemas.values import is_scalar

_MAX_COMBINATIONS = 256
"""Number of combinations of types in the rows of JSON lines that the expressions of a source are checked with."""
Types = Mapping[str, pl.DataType]
Derived = tuple[dict[str, pa.DataType], dict[str, str]]
"""The types of derived columns; and of JSON lines those with cells of several shapes, each with their types."""


def with_derived(
    table: str,
    source: Source,
    files: Sequence[FileSchema],
    schema: TableSchema,
    problems: list[HeterrecError],
) -> list[FileSchema]:
    """The columns of the files of a source with those that its expressions derive, of nulls where these have errors.

    Args:
        table: the name of the table, such as `interactions`.
        source: the source.
        files: the columns of the files.
        schema: the same together.
        problems: takes the errors.
    """
    checked = _Expressions(f"{table}.source", source, schema, problems)
    nothing: Derived = (dict.fromkeys(source.columns, pa.null()), {})
    if not checked.columns_exist():
        return [_with(file, nothing) for file in files]
    lines = checked.of_lines([file for file in files if file.file.format == "jsonl"])
    return [
        _with(file, lines)
        if file.file.format == "jsonl"
        else _with(file, checked.of_file(file) if file.has_rows else nothing)
        for file in files
    ]


def _with(file: FileSchema, derived: Derived) -> FileSchema:
    types, mixed = derived
    kept = {column: cell for column, cell in file.mixed_cells.items() if column not in types}
    return replace(file, types=file.types | types, mixed_cells=kept | mixed)


class _Expressions:
    """The expressions of one source."""

    def __init__(
        self, key: str, source: Source, schema: TableSchema, problems: list[HeterrecError]
    ) -> None:
        self._key, self._source, self._schema, self._problems = key, source, schema, problems
        self._texts = {f"columns.{name}": text for name, text in source.columns.items()}
        if source.where is not None:
            self._texts[WHERE] = source.where
        self._faulty: set[str] = set()

    def columns_exist(self) -> bool:
        """Whether some file has each column that the expressions read; adds an error for each that none has."""
        known: set[str] = set()
        absent = []
        for part, text in self._texts.items():
            for column in columns_of(text):
                if column in known or (part == WHERE and column in self._source.columns):
                    continue
                known.add(column)
                key = f"{self._key}.{part}"
                absent.append(
                    missing_column(key, column, self._schema, required=False, expression=text)
                )
        found = [error for error in absent if error is not None]
        self._problems += found
        return not found

    def of_file(self, file: FileSchema) -> Derived:
        """The columns that are derived in a file whose columns have types."""
        roots = Request(self._source, ()).roots
        fits = self._fits({c: type_in_file(file.types.get(c, pa.null())) for c in roots})
        for part, found in fits.items():
            if (problem := found.problem) is not None:
                self._report(part, problem._replace(got=f"{problem.got} in {file.file.name}"))
        return {n: fits[f"columns.{n}"].column for n in self._source.columns}, {}

    def of_lines(self, files: Sequence[FileSchema]) -> Derived:
        """The columns that are derived in JSON lines, in which rows have types.

        Rows that an expression does not fit are rejected. It is a mistake if it fits none, or none with a value in a column.
        """
        rows: Counter[RowTypes] = Counter()
        for file in files:
            rows.update(file.seen)
        # The most frequent ones, whatever the order of the files.
        tried = sorted(rows, key=lambda row: (-rows[row], str(row)))[:_MAX_COMBINATIONS]
        fits = [(self._fits(dict(row.kinds), row.blank), rows[row]) for row in tried]
        for part in self._texts:
            found = [(one[part], count) for one, count in fits if part in one]
            always = [f.problem for f, _ in found if f.problem and not f.problem.of_rows]
            for problem in always or _of_all_values(found, every=len(tried) == len(rows)):
                self._report(part, problem)
        kinds = {
            n: [f.column for one, _ in fits if not (f := one[f"columns.{n}"]).problem]
            for n in self._source.columns
        }
        types = {name: unified_of(every) or mixed_of(every) for name, every in kinds.items()}
        mixed = {
            name: " and ".join(dict.fromkeys(map(str, kinds[name])))
            for name, kind in types.items()
            if unified_of(kinds[name]) is None and not is_scalar(kind)
        }
        return types, mixed

    def _fits(self, types: Types, blank: Sequence[str] = ()) -> dict[str, Fit]:
        """How each expression takes columns of some types; without `where` if it reads a column that has a problem.

        Args:
            types: the types.
            blank: the columns of blank texts.
        """
        columns = {
            n: fit_with_blanks(text, _of(text, types), blank)
            for n, text in self._source.columns.items()
        }
        found = {f"columns.{name}": one for name, one in columns.items()}
        where = self._source.where
        read = columns_of(where) if where is not None else []
        if where is not None and not any(columns[c].problem for c in read if c in columns):
            seen = dict(types) | {name: one.result for name, one in columns.items()}
            # What derives from a blank text may be blank.
            derived = self._source.columns
            blank = [c for c in read if {c, *columns_of(derived.get(c, "NULL"))} & set(blank)]
            found[WHERE] = fit_with_blanks(where, _of(where, seen), blank, condition=True)
        return found

    def _report(self, part: str, problem: Problem) -> None:
        """Add the first error of an expression."""
        if part in self._faulty:
            return
        self._faulty.add(part)
        if problem.column:
            inner = [c for c in self._schema.types if c.startswith(f"{problem.column}.")]
            todo = f'Name a field, such as "{min(inner)}".' if inner else None
            kind = self._schema.types.get(problem.column)
            got = self._schema.mixed_cells.get(problem.column, str(kind or problem.got))
            problem = problem._replace(got=got, todo=todo)
        self._problems.append(problem.error(f"{self._key}.{part}"))


def _of(text: str, types: Types) -> Kinds:
    return tuple((column, types[column]) for column in columns_of(text))


def _of_all_values(found: Sequence[tuple[Fit, int]], *, every: bool) -> list[Problem]:
    """A problem of an expression that has one for all rows, or for all with a value in some column; else nothing.

    Args:
        found: how the expression takes rows, with their number.
        every: whether these are all of the rows.
    """
    columns = len(found[0][0].given) if found else 0
    total = sum(count for _, count in found)
    with_value = (
        [(one, count) for one, count in found if one.given[at] != NOTHING]
        for at in range(columns if every else 0)
    )
    for some in (found, *with_value):
        problems = [one.problem for one, _ in some if one.problem is not None]
        if problems and len(problems) == len(some):
            problem, count = problems[0], sum(count for _, count in some)
            if count == total:
                return [problem]
            where = f"in all sampled rows with such values, {count:,} of {total:,}"
            return [problem._replace(got=f"{problem.got} {where}")]
    return []
