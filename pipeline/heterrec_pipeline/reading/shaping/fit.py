"""How an expression takes columns of some types: the type of its result, or why it has none."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.reading.shaping.cells import NOTHING, Kinds, arrow_type
from heterrec_pipeline.reading.shaping.evaluate import fails, is_failure, result
from heterrec_pipeline.reading.shaping.probe import depends_on_other_rows, probe_frame
from heterrec_pipeline.reading.shaping.quotes import quotes_hint
from heterrec_pipeline.reading.shaping.time_comparisons import time_hint
from heterrec_pipeline.reading.spec_lines import derived, in_sql
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec.expressions import parse_expression

_ANY_TYPES = (
    *(NOTHING, pl.String(), pl.Int64(), pl.Boolean(), pl.Datetime("us")),
    *(pl.List(NOTHING), pl.List(pl.String()), pl.List(pl.Int64())),
)
"""The types that a column of nulls may have for an expression: the first one that fits."""
_FEW = 2
"""Number of columns of nulls of which every combination of types is tried."""
_MAX_FITS = 2**14
"""Number of expressions with types of which the fit is kept."""
_CONDITION = re.compile(r"bitand|bitor|to Boolean")
_OF_A_TIME = ".dt."
"""How Polars shows the parts of a time that an expression takes."""
_NO_CAST = re.compile("casting from .* not supported|cannot cast List")
_ABOUT_POLARS = re.compile("This error occurred|[(]create native")
"""What follows in an error is no matter of the spec."""


class Problem(NamedTuple):
    """Why an expression does not fit: the words after its name, and those of an error.

    Attributes:
        column: a column that no expression can read, which is the reason.
        of_rows: whether it is a matter of the rows with these types.
    """

    what: str
    got: str
    expected: str | None = None
    todo: str | None = None
    column: str = ""
    of_rows: bool = True

    def error(self, key: str) -> SchemaMismatchError:
        """The error for an expression by its name."""
        return SchemaMismatchError(
            f"{key}{self.what}", got=self.got, expected=self.expected, todo=self.todo
        )


class Fit(NamedTuple):
    """How an expression takes columns of some types.

    Attributes:
        given: the types of the columns that it reads.
        kinds: the columns with the types that those of nulls have for it.
        result: the type of its result; that of nulls if it does not fit.
        problem: why it does not fit.
    """

    given: tuple[pl.DataType, ...]
    kinds: Kinds
    result: pl.DataType = NOTHING
    problem: Problem | None = None

    @property
    def column(self) -> pa.DataType:
        """The type of its result as a column of a file."""
        return arrow_type(self.result) or pa.null()


def fit_with_blanks(
    text: str, kinds: Kinds, blank: Collection[str], *, condition: bool = False
) -> Fit:
    """How an expression takes columns of which some have blank texts: these are null only where it does not take texts.

    Args:
        text: the expression.
        kinds: the columns that it reads, with their types.
        blank: those of them with blank texts.
        condition: whether its result must be true, false or null.
    """
    found = fit(text, kinds, condition=condition)
    if found.problem is None or not found.problem.of_rows or not blank:
        return found

    def without(nulls: Collection[str]) -> Fit:
        some = tuple((name, NOTHING if name in nulls else kind) for name, kind in kinds)
        return fit(text, some, condition=condition)

    nulls = [name for name, _ in kinds if name in blank]
    found = without(nulls)
    # As few of them as possible: each stays a text, in turn, if the expression fits nevertheless.
    for name in nulls if found.problem is None else ():
        fewer = [other for other in nulls if other != name]
        if (closer := without(fewer)).problem is None:
            nulls, found = fewer, closer
    return found


@lru_cache(_MAX_FITS)
def fit(text: str, kinds: Kinds, *, condition: bool = False) -> Fit:
    """How an expression takes columns of some types.

    Args:
        text: the expression.
        kinds: the columns that it reads, with their types.
        condition: whether its result must be true, false or null.
    """
    given = tuple(kind for _, kind in kinds)
    types = dict(kinds)
    for name, kind in kinds:
        if isinstance(kind, pl.Struct):
            return Fit(given, kinds, problem=_unreadable(name, kind))
    expression = parse_expression(text)
    _give_types(expression, types, [name for name, kind in kinds if kind == NOTHING])
    taken = tuple(types.items())
    try:
        found = result(pl.DataFrame(schema=types), expression).dtype
    except BaseException as error:
        if not is_failure(error):
            raise
        return Fit(given, taken, problem=_of_types(text, types, error, condition=condition))
    if compared := _time_with_number(expression, types):
        return Fit(given, taken, problem=_of_times(text, *compared))
    if condition and found not in (pl.Boolean, NOTHING):
        got = f"{text}, of type {found}"
        problem = Problem(" is no condition", got, "a condition, such as quantity > 0")
        return Fit(given, taken, problem=problem)
    if arrow_type(found) is None:
        expected = "text, numbers, booleans, dates, times, or lists of them"
        return Fit(given, taken, problem=Problem(f": its result is {found}", text, expected))
    rows = probe_frame(types)
    if (no_cast := _cast_error(rows, expression)) is not None:
        return Fit(given, taken, problem=_of_types(text, types, no_cast, condition=condition))
    if depends_on_other_rows(rows, expression):
        what = ": the result in a row depends on other rows"
        expected = "an expression that goes row by row"
        return Fit(given, taken, problem=Problem(what, text, expected, of_rows=False))
    return Fit(given, taken, found)


def _cast_error(frame: pl.DataFrame, expression: pl.Expr) -> BaseException | None:
    """The error of a cast between types that have none, which only shows for values: neither CAST nor TRY_CAST succeeds."""
    try:
        result(frame, expression)
    except BaseException as error:
        if not is_failure(error):
            raise
        return error if _NO_CAST.match(str(error)) else None
    return None


def _unreadable(column: str, kind: pl.DataType) -> Problem:
    what = f": column {column!r} holds objects, or other values that expressions cannot read"
    expected = "text, numbers, booleans, dates, times, bytes, or lists of them"
    return Problem(what, str(kind), expected, column=column)


def _give_types(expression: pl.Expr, types: dict[str, pl.DataType], nulls: Sequence[str]) -> None:
    """Give columns of nulls types that fit: those that the smallest parts of an expression need, then those of the whole."""
    own = [name for name in dict.fromkeys(expression.meta.root_names()) if name in nulls]
    if not own or _fits(expression, types):
        return
    for part in expression.meta.pop():
        _give_types(part, types, own)
    if _fits(expression, types):
        return
    several = product(_ANY_TYPES, repeat=len(own))
    alike = ((kind,) * len(own) for kind in _ANY_TYPES)
    for kinds in several if len(own) <= _FEW else alike:
        tried = types | dict(zip(own, kinds, strict=True))
        if _fits(expression, tried):
            types.update(tried)
            return


def _fits(expression: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    return not fails(pl.DataFrame(schema=types), expression)


def _of_types(
    text: str, types: Mapping[str, pl.DataType], error: BaseException, *, condition: bool
) -> Problem:
    why = " ".join(_ABOUT_POLARS.split(str(error))[0].split())
    texts = _texts_in(types, parse_expression(text))
    reads = partial(_reads, types)
    todo = time_hint(text, why, types, reads) or quotes_hint(text, why, reads)
    if texts and todo is None:
        name = in_sql(texts[0])
        as_number = "CAST({} AS DOUBLE)"
        column, cast = f"Column {texts[0]!r} is text", as_number.format(name)
        if "from string to" in why:
            todo = f"Give the format of the text: DATE({name}, '%Y-%m-%d') or STRPTIME({name}, '%Y-%m-%d %H:%M:%S')."
        elif _OF_A_TIME in str(error):
            todo = f"{column}: write STRPTIME({name}, '%Y-%m-%d %H:%M:%S') with its format in its place."
        elif _CONDITION.search(why):
            todo = f"{column}: write a condition, such as {name} = 'yes'."
        elif condition:
            todo = f"{column}: write {cast} in its place, or derive it: {derived(texts[0], as_number)}."
        else:
            todo = f"{column}: write {cast} in its place."
    kinds = ", ".join(f"{c} {kind}" for c, kind in types.items())
    return Problem(f": {why[:200]}", f"{text} over {kinds}", todo=todo)


def _time_with_number(
    expression: pl.Expr, types: Mapping[str, pl.DataType]
) -> tuple[str, pl.DataType] | None:
    """The time of the first comparison of a time with a number, which Polars takes as microseconds or days; and its type."""
    parts = expression.meta.pop()
    if len(parts) == 2 and _type_of(expression, types) == pl.Boolean:
        kinds = [_type_of(part, types) for part in parts]
        for part, kind, other in zip(parts, kinds, reversed(kinds), strict=True):
            if kind.is_temporal() and other.is_numeric():
                return in_sql((part.meta.root_names() or ["ts"])[0]), kind
    found = (_time_with_number(part, types) for part in parts)
    return next(filter(None, found), None)


def _type_of(expression: pl.Expr, types: Mapping[str, pl.DataType]) -> pl.DataType:
    """The type of an expression, which is not evaluated: a list of literals has another length than a frame."""
    return pl.LazyFrame(schema=types).select(expression).collect_schema().dtypes()[0]


def _of_times(text: str, column: str, kind: pl.DataType) -> Problem:
    if kind == pl.Duration:
        written = "a length of time, such as ts - started > INTERVAL '1 day'"
        todo = (
            "For seconds write EXTRACT(EPOCH FROM ts) - EXTRACT(EPOCH FROM started) in its place."
        )
        return Problem(": a length of time is compared with a number", text, written, todo)
    literal = "DATE '2026-01-31'" if kind == pl.Date else "TIMESTAMP '2026-01-31 10:00:00'"
    seconds = f"For seconds since 1970 write EXTRACT(EPOCH FROM {column}) in its place."
    return Problem(
        ": a time is compared with a number",
        text,
        f"a time, such as {column} >= {literal}",
        seconds if kind == pl.Datetime else None,
    )


def _reads(types: Mapping[str, pl.DataType], text: str) -> bool:
    """Whether a text is an expression that fits the types of its columns."""
    try:
        return _fits(parse_expression(text), types)
    except ValueError:
        return False


def _texts_in(types: Mapping[str, pl.DataType], expression: pl.Expr) -> list[str]:
    """The columns of the texts that the smallest part of an expression with the wrong types takes."""
    parts = expression.meta.pop()
    for part in parts:
        if not _fits(part, types):
            return _texts_in(types, part)
    frame = pl.DataFrame(schema=types)
    texts = [part for part in parts if result(frame, part).dtype == pl.String]
    return [name for part in texts for name in part.meta.root_names()]
