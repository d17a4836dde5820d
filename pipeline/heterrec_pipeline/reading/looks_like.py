"""Guesses at what an unreadable file, header or path is, for messages."""

import re
from collections.abc import Sequence

_BEGINNINGS = {
    b"\x1f\x8b": "gzip-compressed (add .gz to its name)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed (add .zst to its name)",
    b"\xff\xfe": "UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 (save it as UTF-8)",
    b"PAR1": "Parquet (set format: parquet)",
    b"PK\x03\x04": "a zip archive or a workbook (unpack it, or export it as CSV)",
    b"BZh": "bzip2-compressed (compress it by gzip or zstd instead)",
    b"\xfd7zXZ": "xz-compressed (compress it by gzip or zstd instead)",
    b"Obj\x01": "Avro (convert it to Parquet)",
    b"ORC": "ORC (convert it to Parquet)",
}
_SEPARATORS = {"::": "'::'", ";": "';'", "\t": "tabs", "|": "'|'"}


def other_encoding(start: bytes) -> str | None:
    """What the first bytes of a file show that it is, and what to do; None if they say nothing."""
    return next((what for sign, what in _BEGINNINGS.items() if start.startswith(sign)), None)


def other_header(names: Sequence[str]) -> str | None:
    """What is wrong with the header line of a CSV file, if it has one column or data in it; None otherwise."""
    found = []
    if len(names) == 1:
        used = [words for sign, words in _SEPARATORS.items() if sign in names[0]]
        found += [f"is one column, which seems to be separated by {used[0]}"] if used else []
    cells = re.split("|".join(map(re.escape, _SEPARATORS)), names[0]) if found else names
    if any(re.fullmatch(r"-?\d+(\.\d+)?", cell.strip()) for cell in cells):
        found.append("contains numbers, as if the header line were absent")
    if not found:
        return None
    line = ",".join(names)
    return f"The header {line[:80]!r} {' and '.join(found)}. Write a header line, and commas."


def escaped_quote(text: str, separator: str = ",") -> int | None:
    """The line, from 1, of the first quoted cell of a CSV text with a quote escaped by a backslash; None without one.

    A backslash before the closing quote of a cell is an ordinary character.
    """
    comma = re.escape(separator)
    cell = rf'(?:^|{comma})"(?:[^"\\]|""|\\(?!"))*\\"[^"{comma}\r\n]'
    found = re.search(cell, text, re.MULTILINE) if '\\"' in text else None
    return None if found is None else text.count("\n", 0, found.end()) + 1
