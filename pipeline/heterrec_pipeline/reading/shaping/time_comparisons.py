"""What to write where an expression compares a time with a text, or with something else."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time

import polars as pl

from heterrec_pipeline.reading.spec_lines import in_sql

_OF_TIMES = re.compile(r"date/datetime/time|for '?(?:Date|Time)|got: (?:date|time)", re.IGNORECASE)
"""What Polars says about times among other values."""
_TEXT = re.compile(r"\"(?:[^\"]|\"\")*\"|(\b[A-Za-z]+\s*)?'((?:[^']|'')*)'")
"""A quoted name, or a text with the word before it."""
_TYPES = ("date", "timestamp", "time", "interval")


def time_hint(
    text: str, why: str, types: Mapping[str, pl.DataType], reads: Callable[[str], bool]
) -> str | None:
    """What to write in place of an expression whose types do not fit; None if this is not because of times.

    Args:
        text: the expression.
        why: what Polars says about it.
        types: the types of its columns.
        reads: whether the types of another expression over these columns fit.
    """
    if not _OF_TIMES.search(why):
        return None
    typed = _TEXT.sub(_typed, text)
    if typed != text and reads(typed):
        return f"A time is compared with a time: write {typed}."
    of_times = [column for column, kind in types.items() if kind.is_temporal()]
    texts = [column for column, kind in types.items() if kind == pl.String]
    if texts:
        name = in_sql(texts[0])
        return (
            f"Column {texts[0]!r} is text: write STRPTIME({name}, '%Y-%m-%d %H:%M:%S') with its format in its place, or "
            f"compare {name} with a text such as '2026-01-31' if its texts are in the order of the times."
        )
    if not of_times:
        return None
    return (
        f"Column {of_times[0]!r} is a time: compare it with DATE '2026-01-31' or TIMESTAMP '2026-01-31 10:00:00'; or write "
        f"CAST({in_sql(of_times[0])} AS VARCHAR) in its place."
    )


def _typed(found: re.Match[str]) -> str:
    """A text that is a time with its type before it; anything else as it is."""
    before, inner = found[1] or "", found[2]
    if inner is None or before.strip().lower() in _TYPES:
        return found[0]
    literal = _literal(inner)
    return found[0] if literal is None else f"{before}{literal}"


def _literal(text: str) -> str | None:
    """A text in ISO 8601 as a literal of SQL, in UTC; None for another text."""
    with suppress(ValueError):
        return f"DATE '{date.fromisoformat(text).isoformat()}'"
    with suppress(ValueError):
        if ":" in text:
            return f"TIME '{time.fromisoformat(text).isoformat()}'"
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return f"TIMESTAMP '{moment.isoformat(' ')}'"
    return None
