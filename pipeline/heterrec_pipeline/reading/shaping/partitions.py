"""Hive partitions: folders such as `dt=2026-01-01` on the path of a file are columns, and files of others are not read."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from urllib.parse import unquote

import polars as pl

from heterrec_pipeline.reading.files import InputFile, input_files
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.feature_spec.expressions import parse_expression

_MISSING = "__HIVE_DEFAULT_PARTITION__"
"""The value of a folder whose rows have none."""


class SourceFiles(NamedTuple):
    """The files of a source to read, and the columns of the folders of all of its files, read or not."""

    files: tuple[InputFile, ...]
    folders: tuple[str, ...]


@cache
def partition_values(name: str) -> dict[str, str | None]:
    """The columns in the path of a file, as text; of a column that is there twice, the inner folder's."""
    if "=" not in name:
        return {}
    found: dict[str, str | None] = {}
    for part in name.split("/")[:-1]:
        column, sign, value = part.partition("=")
        if sign and column:
            found[unquote(column)] = None if value == _MISSING else unquote(value)
    return found


def source_files(source: Source, base: str, where: str) -> SourceFiles:
    """The files of a source whose partitions meet the conditions of its `where`; see `input_files`.

    Raises:
        DataError: no file is left, or as `input_files`.
        SpecError: as `input_files`.
    """
    files = input_files(source, base, where)
    kept = pruned(source, files)
    if not kept:
        raise DataError(
            f"{where}: no file is left of {len(files):,}",
            got=f"partitions such as {files[0].name}",
            expected=f"files with {source.where}",
            todo="Check source.where in the spec, and --param.",
        )
    return SourceFiles(kept, tuple(sorted({c for f in files for c in partition_values(f.name)})))


def pruned(source: Source, files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """The files that may have rows for which `where` is true.

    Only the conditions (joined by AND) on partition columns alone decide. A column of the same name in the file counts
    neither here nor in its rows.
    """
    if source.where is None:
        return tuple(files)
    conditions = [
        part
        for part in _conjuncts(parse_expression(source.where))
        if (names := part.meta.root_names()) and not set(names) & source.columns.keys()
    ]
    return tuple(f for f in files if all(_may_hold(part, f) for part in conditions))


def _conjuncts(expression: pl.Expr) -> list[pl.Expr]:
    """The conditions that must all be true for an expression to be true."""
    parts = expression.meta.pop()
    if len(parts) == 2 and _is_and(expression):
        return [inner for part in parts for inner in _conjuncts(part)]
    return [expression]


def _is_and(expression: pl.Expr) -> bool:
    left, right = reversed(expression.meta.pop())
    return (left & right).meta.eq(expression)


def _may_hold(condition: pl.Expr, file: InputFile) -> bool:
    values = partition_values(file.name)
    names = condition.meta.root_names()
    if not set(names) <= values.keys():
        return True
    row = pl.DataFrame({n: pl.Series([values[n]], dtype=pl.String) for n in dict.fromkeys(names)})
    try:
        return row.select(condition).to_series().to_list() == [True]
    except pl.exceptions.PolarsError:  # the rows are rejected, and counted
        return True
