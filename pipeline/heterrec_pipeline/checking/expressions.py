"""Checks the expressions of a source against the columns of its files; errors are added to a list."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.columns import missing_column
from heterrec_pipeline.checking.schemas import TableSchema, table_schema, with_folders
from heterrec_pipeline.checking.time_comparisons import time_hint
from heterrec_pipeline.reading.empty_files import filled_files
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.shaping.evaluate import (
    as_polars,
    depends_on_other_rows,
    expression_type,
    probe_frame,
    result,
)
from heterrec_pipeline.reading.shaping.nested import with_map_keys
from heterrec_pipeline.reading.shaping.partitions import source_files
from heterrec_pipeline.reading.shaping.shape import WHERE
from heterrec_pipeline.reading.spec_lines import derived, in_sql
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError
from heterrec_schemas.feature_spec import FeatureSpec, Source
from heterrec_schemas.feature_spec.expressions import columns_of, parse_expression
from heterrec_schemas.values import is_text

Types = dict[str, pa.DataType]
_CONDITION = re.compile(r"bitand|bitor|to Boolean")


class Described(NamedTuple):
    """The columns of a source, as its spec describes them.

    Attributes:
        schema: the columns, with the derived ones.
        types: the types of the columns that expressions read.
    """

    schema: TableSchema
    types: tuple[tuple[str, pa.DataType], ...]


def dotted_names(spec: FeatureSpec) -> list[str]:
    """The texts of a spec, and the columns of its expressions, that may be dotted names."""
    return list(dict.fromkeys(t for t in _texts(spec.model_dump()) if "." in t))


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for key, inner in part.items():
            if key == "columns":
                for text in inner.values():
                    yield from columns_of(text)
            elif key == WHERE and inner is not None:
                yield from columns_of(inner)
            else:
                yield from _texts(inner)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _texts(inner)


def find_source(
    table: str,
    source: Source,
    base: str,
    named: Iterable[str],
    problems: list[HeterrecError],
    empty: dict[str, tuple[str, ...]],
) -> tuple[tuple[InputFile, ...], TableSchema]:
    """The files of a source and their columns.

    Args:
        table: the name of the table, such as `interactions`.
        source: the source.
        base: the input folder.
        named: names that may be keys of maps.
        problems: takes the errors.
        empty: takes the names of empty files that are ignored, by table.
    """
    folders: tuple[str, ...] = ()
    try:
        found, folders = source_files(source, base, table)
        files, empty[table] = filled_files(source, found, table)
    except HeterrecError as error:
        problems.append(error)
        files = ()
    schema = with_folders(table_schema(files, problems), files, folders)
    schema, types = described(table, source, schema, named, problems)
    return tuple(replace(f, types=types) for f in files) if types else files, schema


def described(
    table: str,
    source: Source,
    schema: TableSchema,
    named: Iterable[str],
    problems: list[HeterrecError],
) -> Described:
    """The columns of a source with those that its expressions derive.

    Args:
        table: the name of the table, such as `interactions`.
        source: the source.
        schema: the columns of its files.
        named: names that may be keys of maps.
        problems: takes the errors.
    """
    schema = replace(schema, types=with_map_keys(schema.types, named))
    if source.unnest is not None and schema.types:
        absent = missing_column(f"{table}.source.unnest", source.unnest, schema, required=False)
        problems += [absent] if absent is not None else []
    if not schema.types or not (source.columns or source.where):
        return Described(schema, ())
    checked = _Expressions(f"{table}.source", schema, problems)
    frame = checked.frame(
        [*source.columns.values(), *([source.where] if source.where else [])], source
    )
    if frame is None:
        return Described(schema, ())
    results = {}
    for name, text in source.columns.items():
        found = checked.result(f"columns.{name}", text, frame)
        results[name] = found if found is not None else pl.Series([], dtype=pl.Null)
    if source.where is not None:
        seen = frame.with_columns(s.alias(n) for n, s in results.items())
        found = checked.result(WHERE, source.where, seen)
        if found is not None and found.dtype != pl.Boolean:
            problems.append(
                SchemaMismatchError(
                    f"{table}.source.where is no condition",
                    got=f"{source.where}, of type {found.dtype}",
                    expected="a condition, such as quantity > 0",
                )
            )
    made = {n: s.to_arrow(compat_level=pl.CompatLevel.oldest()).type for n, s in results.items()}
    left: dict[str, Any] = {
        name: {c: v for c, v in getattr(schema, name).items() if c not in made}
        for name in ("lacking", "mixed_cells", "differing", "variants")
    }
    schema = replace(schema, types=schema.types | made, **left)
    return Described(schema, tuple(sorted(checked.types.items())))


def _texts_in(frame: pl.DataFrame, expression: pl.Expr) -> list[str]:
    """The columns of the texts that the smallest part of an expression with the wrong types takes."""
    parts = expression.meta.pop()
    for part in parts:
        try:
            result(frame, part)
        except pl.exceptions.PolarsError:
            return _texts_in(frame, part)
    texts = [part for part in parts if result(frame, part).dtype == pl.String]
    return [name for part in texts for name in part.meta.root_names()]


def _fits(frame: pl.DataFrame, text: str) -> bool:
    """Whether a text is an expression that the types of the columns fit."""
    try:
        result(frame, parse_expression(text))
    except (ValueError, pl.exceptions.PolarsError):
        return False
    return True


class _Expressions:
    """The expressions of one source."""

    def __init__(self, key: str, schema: TableSchema, problems: list[HeterrecError]) -> None:
        self._key, self._schema, self._problems = key, schema, problems
        self.types: Types = {}

    def frame(self, texts: list[str], source: Source) -> pl.DataFrame | None:
        """The columns that the expressions read, without rows; None if one is absent or of no single type."""
        before = len(self._problems)
        keys = [f"{self._key}.columns.{name}" for name in source.columns]
        for key, text in zip([*keys, f"{self._key}.{WHERE}"], texts, strict=False):
            of_where = key.endswith(f".{WHERE}") and text == source.where
            for column in columns_of(text):
                if not (of_where and column in source.columns) and column not in self.types:
                    self._add(key, column)
        if len(self._problems) > before:
            return None
        return as_polars({c: pa.nulls(0, expression_type(t)) for c, t in self.types.items()}, 0)

    def _add(self, key: str, column: str) -> None:
        absent = missing_column(key, column, self._schema, required=False)
        kind = self._schema.types.get(column, pa.large_string())
        if absent is not None:
            self._problems.append(absent)
        elif column in self._schema.differing and not is_text(kind):  # scalars are seen as texts
            if self._schema.differing[column] not in self._problems:
                self._problems.append(self._schema.differing[column])
        elif pa.types.is_struct(kind) or column in self._schema.mixed_cells:
            fields = sorted(c for c in self._schema.types if c.startswith(f"{column}."))
            self._problems.append(
                SchemaMismatchError(
                    f"{key}: column {column!r} holds objects, or values of several shapes",
                    got=self._schema.mixed_cells.get(column, kind),
                    expected="values of one kind",
                    todo=f'Name a field, such as "{fields[0]}".' if fields else None,
                )
            )
        else:
            self.types[column] = kind

    def result(self, part: str, text: str, frame: pl.DataFrame) -> pl.Series | None:
        """The result of an expression for the frame without rows; None with an error."""
        key, expression = f"{self._key}.{part}", parse_expression(text)
        try:
            found = result(frame, expression)
        except pl.exceptions.PolarsError as error:
            self._problems.append(self._of_types(key, text, frame, error))
            return None
        names = [c for c in columns_of(text) if c in self.types]
        if set(names) == set(columns_of(text)) and depends_on_other_rows(
            probe_frame(self.types, names), expression
        ):
            self._problems.append(
                SchemaMismatchError(
                    f"{key}: the result in a row depends on other rows",
                    got=text,
                    expected="an expression that goes row by row",
                )
            )
            return None
        return found

    def _of_types(
        self, key: str, text: str, frame: pl.DataFrame, error: Exception
    ) -> SchemaMismatchError:
        why = " ".join(re.split("This error occurred|[(]create native", str(error))[0].split())
        texts = _texts_in(frame, parse_expression(text))
        types = {c: frame.schema[c] for c in columns_of(text) if c in frame.schema}
        todo = time_hint(text, why, types, partial(_fits, frame))
        if texts and todo is None:
            name = in_sql(texts[0])
            as_number = "CAST({} AS DOUBLE)"
            column, cast = f"Column {texts[0]!r} is text", as_number.format(name)
            if "from string to" in why:
                todo = f"Give the format of the text: DATE({name}, '%Y-%m-%d') or STRPTIME({name}, '%Y-%m-%d %H:%M:%S')."
            elif _CONDITION.search(why):
                todo = f"{column}: write a condition, such as {name} = 'yes'."
            elif key.endswith(f".{WHERE}"):
                todo = f"{column}: write {cast} in its place, or derive it: {derived(texts[0], as_number)}."
            else:
                todo = f"{column}: write {cast} in its place."
        kinds = ", ".join(f"{column} {kind}" for column, kind in types.items())
        return SchemaMismatchError(f"{key}: {why[:200]}", got=f"{text} over {kinds}", todo=todo)
