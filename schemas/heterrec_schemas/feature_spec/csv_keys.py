"""The rules of the keys of a source that describe CSV files."""

import codecs
import re
from collections import Counter
from collections.abc import Sequence

CSV_KEYS = (
    *("delimiter", "header", "names", "quote", "escape"),
    *("encoding", "null_values", "decimal"),
)
"""The keys of a source that only CSV files have."""
_ESCAPED = re.compile(r"\\t|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")


def unescaped(value: object) -> object:
    r"""A character written as `\t`, `\x01` or `\u0001`, as YAML leaves it in single quotes."""
    if isinstance(value, str) and _ESCAPED.fullmatch(value):
        return value.encode("ascii").decode("unicode_escape")
    return value


def checked_delimiter(value: str | None) -> str | None:
    """Refuse delimiters that end a line."""
    if value is not None and set(value) & {"\r", "\n", "\0"}:
        raise ValueError(f"got {value!r}, expected characters other than line ends and NUL")
    return value


def checked_mark(value: str | None) -> str | None:
    """Refuse quotes and escapes that are no ASCII character, or end a line."""
    if value is not None and (not value.isascii() or value in "\r\n\0"):
        raise ValueError(f"got {value!r}, expected one ASCII character other than a line end")
    return value


def checked_encoding(value: str) -> str:
    """Python's own name of a text encoding."""
    try:
        found = codecs.lookup(value)
        "".encode(value)  # fails for codecs that are no text encodings, such as base64
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(
            f"unknown encoding {value!r}, expected one of Python's, such as utf-8, latin-1, cp1252, utf-16 or shift_jis"
        ) from None
    return found.name


def checked_names(names: list[str] | None) -> list[str] | None:
    """Refuse names that occur twice."""
    twice = sorted(name for name, count in Counter(names or ()).items() if count > 1)
    if twice:
        raise ValueError(f"{twice[0]!r} occurs twice; a name for each column is expected")
    return names


def check_together(
    *,
    delimiter: str | None,
    header: bool,
    names: Sequence[str] | None,
    quote: str | None,
    escape: str | None,
    null_values: Sequence[str],
) -> None:
    """Refuse settings that contradict each other."""
    if not header and names is None:
        raise ValueError("header: false needs names: [...], the columns of the file in their order")
    if header and names is not None:
        raise ValueError("names are for files without a header line; add header: false")
    for key, mark in (("quote", quote), ("escape", escape)):
        if mark is not None and mark in (delimiter or ","):
            raise ValueError(f"{key}: {mark!r} is part of the delimiter")
    if escape is not None and len((delimiter or ",").encode()) > 1:
        raise ValueError("escape: only with a delimiter of one ASCII character")
    if escape is not None and escape == quote:
        raise ValueError("escape is the quote; doubled quotes are read anyway, so leave escape out")
    if escape is not None and any(text.startswith(escape) for text in null_values):
        raise ValueError(
            f"null_values: a text that begins with the escape {escape!r} cannot be told from its second character; "
            "leave escape out, or list that character"
        )
