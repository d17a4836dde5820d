"""Patterns of times of Java, Joda and moment.js, such as `yyyy-MM-dd`, as formats of Python's strptime."""

import re

_DIRECTIVES = {
    **dict.fromkeys(("yyyy", "YYYY", "uuuu", "y"), "%Y"),
    **dict.fromkeys(("yy", "YY"), "%y"),
    **dict.fromkeys(("MMMM", "LLLL"), "%B"),
    **dict.fromkeys(("MMM", "LLL"), "%b"),
    **dict.fromkeys(("MM", "M"), "%m"),
    **dict.fromkeys(("dd", "d", "DD", "D"), "%d"),
    **dict.fromkeys(("EEEE", "dddd"), "%A"),
    **dict.fromkeys(("EEE", "E", "ddd"), "%a"),
    **dict.fromkeys(("HH", "H", "kk"), "%H"),
    **dict.fromkeys(("hh", "h"), "%I"),
    **dict.fromkeys(("mm", "m"), "%M"),
    **dict.fromkeys(("ss", "s"), "%S"),
    **dict.fromkeys(("S", "SS", "SSS", "SSSSSS", "f", "ffffff"), "%f"),
    **dict.fromkeys(("a", "A"), "%p"),
    **dict.fromkeys(("Z", "ZZ", "X", "XX", "XXX", "x", "xx", "xxx"), "%z"),
    "T": "T",
}
_PART = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|[^A-Za-z']+")
"""A quoted text, a run of one letter, or anything else."""


def strptime_format(pattern: str) -> str | None:
    """A pattern of letters as a format of strptime; None if it has letters of another meaning."""
    parts = [found[0] for found in _PART.finditer(pattern)]
    if "".join(parts) != pattern:
        return None
    made = []
    for part in parts:
        if part.startswith("'"):
            made.append(part[1:-1].replace("''", "'").replace("%", "%%"))
        elif part[0].isalpha():
            if part not in _DIRECTIVES:
                return None
            made.append(_DIRECTIVES[part])
        else:
            made.append(part)
    return "".join(made)
