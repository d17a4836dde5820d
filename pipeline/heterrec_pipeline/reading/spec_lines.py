"""Lines to write into a source of the spec, for messages."""

import json
import re

import polars as pl

from heterrec_schemas.feature_spec import Source

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YAML_WORDS = ("yes", "no", "on", "off", "true", "false", "null")


def derived(column: str, expression: str, text: str | None = None) -> str:
    """The key `columns` with one column.

    Args:
        column: the name of the derived column.
        expression: SQL with `{}` for the column itself.
        text: the expression that the source has for it; None if it is a column of the files.
    """
    sql = expression.format(in_sql(column) if text is None else f"({text})")
    plain = _PLAIN.fullmatch(column) and column.lower() not in _YAML_WORDS
    name = column if plain else json.dumps(column, ensure_ascii=False)
    return f"columns: {{{name}: {json.dumps(sql, ensure_ascii=False)}}}"


def condition(table: str, source: Source) -> str:
    """The condition of a source as it is in the spec, with its path there."""
    return f"{table}.source.where: {json.dumps(source.where, ensure_ascii=False)}"


def in_sql(column: str) -> str:
    """The name of a column in an expression; in quotes unless it is a plain word that SQL does not reserve."""
    if _PLAIN.fullmatch(column):
        try:
            if pl.sql_expr(f"CAST({column} AS VARCHAR)").meta.root_names() == [column]:
                return column
        except (pl.exceptions.PolarsError, ValueError):
            pass
    return '"' + column.replace('"', '""') + '"'


def in_yaml(text: str) -> str:
    """A text in single quotes."""
    return "'" + text.replace("'", "''") + "'"
