"""SQL expressions over the row of a source: parsed by Polars, and refused unless each result depends on its row alone."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from heterrec_schemas.feature_spec.text_growth import MAX_GROWTH, growth

if TYPE_CHECKING:
    import polars as pl

_TEXT = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
"""Texts, quoted names and comments of SQL."""
_CLOCK = re.compile(
    r"\b(?:current_(?:date|timestamp|time)|localtime(?:stamp)?|(?:now|today|getdate|random|rand|uuid)\s*\()",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_NAME = re.compile(r"\b[A-Za-z_]\w*(?:[.-][A-Za-z_]\w*)*\b(?!\s*\()")
"""A name, perhaps with dots or hyphens, that is not that of a function."""
_TYPED = re.compile(r"\s*'")
"""The text of a literal after its type, such as DATE '2026-01-31'."""
_GRAMMAR = frozenset(
    "and or not in is null true false like ilike between case when then else as".split()
)
"""Words that are part of an expression more often than names of columns."""
_STATEMENT = re.compile(
    r"\s*(?:select|where|with)\s+(?:\*\s*(?:from\b|,)|(?!(?:is|in|like|ilike|between|not|and|or|as|then|else|end)\b)[\w(\"'])",
    re.IGNORECASE,
)
"""The beginning of a statement or of its condition: no operator follows the word, as would one the name of a column."""
MAX_OPERATORS = 1_000
"""Number of operators, brackets and words such as AND in an expression: Polars needs stack and time for each."""
_MAX_DEPTH = 400
"""Depth of the tree of an expression: of 200 operators within each other, for which Polars needs a second."""
_TOO_LARGE = (
    f"more than {MAX_OPERATORS:,} operators, or 200 within each other; write value IN ('a', 'b', ...) for many comparisons, "
    "or derive parts of it as columns"
)
_OPERATOR = re.compile(
    r"[-+*/%|&=<>!~(\[]|\b(?:AND|OR|NOT|CASE|WHEN|BETWEEN|LIKE)\b", re.IGNORECASE
)
_DOUBLING = re.compile(r"\b(?:IN|BETWEEN|CASE|NULLIF|POSITION)\b", re.IGNORECASE)
"""Words for which Polars reads or copies a part of an expression twice: within each other, 2**n times."""
_MOST_DOUBLING = 12
_PARSE_SECONDS = 5
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')
"""A text of a JSON document, or a bracket."""
_LONG = 1_000
"""Length of an expression that is not tried again with names in quotes."""
_NAMES_TRIED, _NAMES_AT_ONCE = 12, 3
"""Number of names of an expression that are tried in quotes, and of those that are tried together."""
_ROW_WISE = {"Column", "Literal", "BinaryExpr", "Cast", "Function", "Ternary", "Alias", "Eval"}
"""Nodes of an expression whose result in a row depends on that row alone; functions are judged by their names."""
_OTHER_NODES = {
    "Agg": "an aggregate such as SUM, COUNT or MAX",
    "Len": "COUNT",
    "Over": "a window (OVER)",
    "Selector": "a pattern of columns",
}
_FUNCTIONS = {
    *("Abs", "Atan2", "Ceil", "Clip", "Coalesce", "Exp", "FillNull", "Floor", "Log", "Log1p"),
    *("MaxHorizontal", "MinHorizontal", "Pow", "Round", "RoundSF", "Sign", "Sql", "Trigonometry"),
    *("ArrayExpr", "Bitwise", "ListExpr", "StringExpr", "TemporalExpr", "Truncate"),
}
"""Functions, and families of them, that look at one row at a time."""
_OF_FAMILIES = {
    "Boolean": {"IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "IsIn", "Not"}
    | {"IsBetween", "AllHorizontal", "AnyHorizontal"},
}
"""Functions of families of which others look at several rows."""
_MAX_PAD = 1_000
"""Length up to which LPAD and RPAD fill a text; Polars ends the process if it has no memory for the texts."""
_NEVER = {"ConcatVertical", "Sample", "ToStruct", "Implode"}


@cache
def parse_expression(text: str) -> "pl.Expr":
    """An SQL expression, as Polars evaluates it.

    Raises:
        ValueError: it is no SQL expression, or its result in a row depends on other rows or on the time of the run.
    """
    import polars as pl  # only specs with expressions need it

    bare = _TEXT.sub(lambda quoted: " " * len(quoted[0]), text)
    if len(_OPERATOR.findall(bare)) > MAX_OPERATORS:
        raise ValueError(_TOO_LARGE)
    if (clock := _CLOCK.search(bare)) is not None:
        name = clock[0].rstrip("( ")
        quoted = (
            "" if clock[0] != name else f'; a column of this name needs double quotes: "{name}"'
        )
        raise ValueError(
            f"{name} differs from run to run; write a fixed value, or a parameter: '{{name}}' with --param name=value{quoted}"
        )
    if len(_DOUBLING.findall(bare)) > _MOST_DOUBLING and not _parses_soon(text):
        raise ValueError(_TOO_LARGE)
    try:
        expression = pl.sql_expr(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(_not_sql(text, bare, error)) from None
    tree = expression.meta.serialize(format="json")
    if _depth(tree) > _MAX_DEPTH:
        raise ValueError(_TOO_LARGE)
    nodes = json.loads(tree)
    for found in _other_rows(nodes):
        raise ValueError(_refusal(found, bare))
    if growth(nodes) > MAX_GROWTH:
        raise ValueError(
            f"it may make texts {MAX_GROWTH:,} times as long as a cell; write REPLACE with a shorter text, and fewer within "
            "each other"
        )
    return expression


def _parses_soon(text: str) -> bool:
    """Whether Polars parses an expression within some seconds; in a process of its own, since nothing else can end it."""
    code = "import sys, polars; polars.sql_expr(sys.stdin.buffer.read().decode()).meta.serialize(format='json')"
    command = [sys.executable, "-c", code]
    try:
        # Mistakes of the expression, which end it with an error, are reported by the caller.
        subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=_PARSE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return True


def _depth(tree: str) -> int:
    """How deep a JSON document is nested; not parsed, since that may take more stack than there is."""
    depth = deepest = 0
    for found in _BRACKET.finditer(tree):
        if found[0] in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "}]":
            depth -= 1
    return deepest


def columns_of(text: str) -> list[str]:
    """The columns that an expression reads, each once."""
    return list(dict.fromkeys(parse_expression(text).meta.root_names()))


def check_expression(text: str) -> str:
    """The expression itself, if `parse_expression` accepts it."""
    parse_expression(text)
    return text


def _not_sql(text: str, bare: str, error: Exception) -> str:
    if _STATEMENT.match(text):
        word = text.split()[0]
        return f"not an SQL expression but a statement: write only the condition, or the value of the column, without {word}"
    if "&&" in bare:
        return "not an SQL expression: write AND in place of &&, and OR in place of || between conditions"
    if names := _names_to_quote(text, bare):
        quoted = " and ".join(f'"{name}"' for name in names)
        odd = next((name for name in names if not name.isidentifier()), None)
        if odd is not None:
            return (
                f"a name with a {'dot' if '.' in odd else 'hyphen'} needs double quotes: {quoted}"
            )
        are = "are words" if len(names) > 1 else "is a word"
        return f"{' and '.join(names)} {are} of SQL; a column of this name needs double quotes: {quoted}"
    why = " ".join(str(error).split()).removeprefix("sql parser error: ")
    return f"not an SQL expression: {why[:200]}"


def _names_to_quote(text: str, bare: str) -> list[str]:
    """The fewest names in a text that have to be quoted for it to be an SQL expression; empty if that does not help.

    Args:
        text: the text.
        bare: the same with blanks in place of texts, quoted names and comments.
    """
    if len(text) > _LONG:
        return []
    names = list(dict.fromkeys(name[0] for name in _names(text, bare)))[:_NAMES_TRIED]
    for count in range(1, _NAMES_AT_ONCE + 1):
        for some in combinations(names, count):
            if _reads(_quoted(text, bare, some), some):
                return list(some)
    return []


def _names(text: str, bare: str) -> Iterator[re.Match[str]]:
    """The words of a text that may be names of columns."""
    for name in _NAME.finditer(bare):
        if name[0].lower() not in _GRAMMAR and not _TYPED.match(text, name.end()):
            yield name


def _quoted(text: str, bare: str, names: Sequence[str]) -> str:
    """A text with some of its names in double quotes."""
    parts, end = [], 0
    for name in _names(text, bare):
        if name[0] in names:
            parts += [text[end : name.start()], f'"{name[0]}"']
            end = name.end()
    return "".join([*parts, text[end:]])


def _reads(text: str, columns: Sequence[str]) -> bool:
    """Whether a text is an SQL expression that reads some columns, perhaps among others."""
    import polars as pl

    try:
        return set(columns) <= set(pl.sql_expr(text).meta.root_names())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False


def _refusal(found: str, bare: str) -> str:
    if found == "StructExpr":
        dotted = _DOTTED.search(bare)
        name = dotted[0] if dotted else "outer.inner"
        return f'fields are columns of their own: write "{name}" in double quotes'
    if found == "Strptime":
        return "a time without a format is read as the other rows are; give the format: DATE(column, '%Y-%m-%d')"
    if found == "Explode":
        return "UNNEST makes several rows of one; use the key `unnest` of the source"
    if found == "Pad":
        return f"the length of LPAD and RPAD must be a number up to {_MAX_PAD:,}"
    what = _OTHER_NODES.get(found, found)
    return f"{what} looks at other rows; an expression must be row by row"


def _other_rows(node: Any) -> Iterator[str]:
    """The parts of the tree of an expression that do not go row by row, by name."""
    if isinstance(node, str):
        yield from [] if node in _ROW_WISE else [node]
        return
    ((kind, body),) = node.items()
    if kind not in _ROW_WISE:
        yield kind
    elif kind == "BinaryExpr":
        yield from _other_rows(body["left"])
        yield from _other_rows(body["right"])
    elif kind in ("Cast", "Eval"):  # what Eval does with a list is the row's own
        yield from _other_rows(body["expr"])
    elif kind == "Ternary":
        for part in ("predicate", "truthy", "falsy"):
            yield from _other_rows(body[part])
    elif kind == "Alias":
        yield from _other_rows(body[0])
    elif kind == "Function":
        yield from _function(body["function"])
        arguments = body["input"]
        if _pads(body["function"]) and not _is_short(arguments[1]):
            yield "Pad"
        for argument in arguments:
            yield from _other_rows(argument)


def _pads(function: Any) -> bool:
    """Whether a function fills texts up to a length."""
    kind = function.get("StringExpr") if isinstance(function, dict) else None
    return isinstance(kind, dict) and not kind.keys().isdisjoint(("PadStart", "PadEnd"))


def _is_short(length: Any) -> bool:
    """Whether an argument is a number up to `_MAX_PAD`."""
    number = length.get("Literal", {}).get("Dyn", {}).get("Int")
    return isinstance(number, int) and number <= _MAX_PAD


def _function(function: Any) -> Iterator[str]:
    family = next(iter(function)) if isinstance(function, dict) else function
    inner = function[family] if isinstance(function, dict) else None
    name = next(iter(inner), "") if isinstance(inner, dict) else inner
    if name == "Strptime" and isinstance(inner, dict):
        options = [
            part for part in inner["Strptime"] if isinstance(part, dict) and "format" in part
        ]
        if not options or options[0]["format"] is None:
            yield "Strptime"
    elif family in _OF_FAMILIES:
        if name not in _OF_FAMILIES[family]:
            yield str(name)
    elif family not in _FUNCTIONS or name in _NEVER:
        yield str(family)
