"""Guesses at what an unreadable file, header or path is, for messages."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

_BEGINNINGS = {
    rb"\x1f\x8b": "gzip-compressed (add .gz to its name)",
    rb"\x28\xb5\x2f\xfd": "zstd-compressed (add .zst to its name)",
    rb"BZh[1-9]1AY&SY": "bzip2-compressed (add .bz2 to its name)",
    rb"\xfd7zXZ": "xz-compressed (unpack it, or compress it by gzip or zstd instead)",
    rb"7z\xbc\xaf|Rar!\x1a": "an archive (unpack it)",
    rb"PK\x03\x04": "a zip archive or a workbook (unpack it, or export it as CSV)",
    rb"\xff\xfe|\xfe\xff": "UTF-16 (of CSV, write encoding: utf-16 into the source; else save it as UTF-8)",
    rb"PAR1[\x00-\x08\x0e-\x1f]": "Parquet (set format: parquet)",
    rb"Obj\x01": "Avro (set format: avro)",
    rb"(?s)ORC.{0,12}?[\x00-\x08\x0e-\x1f]": "ORC (set format: orc)",
    rb"ARROW1\x00|\xff\xff\xff\xff": "an Arrow (Feather) file (write it as Parquet)",
    rb"SQLite format 3\x00": "an SQLite database (export the table as CSV or Parquet)",
    rb"\x93NUMPY": "an array of NumPy (set format: npy, and keys)",
    rb"\x89HDF|\x80[\x02-\x05]": "a file of HDF5 or pickle (write it as Parquet)",
    rb"version https://git-lfs": "a pointer of Git LFS (fetch the file by git lfs pull)",
    rb"\s*<(!DOCTYPE|html|\?xml|Error)": "HTML or XML, perhaps an error page instead of the file (download it again)",
}
"""What begins with some bytes, as patterns, in words."""
BEGINNING_BYTES = 64
"""Number of bytes that show what a file is."""
_SEPARATORS = {"::": "'::'", ";": "';'", "\t": "tabs", "|": "'|'", ",": "','"}
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def other_encoding(start: bytes) -> str | None:
    """What the first bytes of a file show that it is, and what to do; None if they say nothing."""
    found = (what for sign, what in _BEGINNINGS.items() if re.match(sign, start[:BEGINNING_BYTES]))
    return next(found, None)


def other_content(start: bytes) -> str | None:
    """As `other_encoding`, for a file that should be no text: it may be text."""
    text = start[:BEGINNING_BYTES]
    known = other_encoding(text)
    if known or not text or any(byte < 9 or 13 < byte < 32 for byte in text):
        return known
    kind = "jsonl" if text.lstrip()[:1] in (b"{", b"[") else "csv"
    return f"text (set format: {kind})"


def header_cells(name: str) -> list[str]:
    """The cells of a header line that was taken as the name of a single column."""
    used = next((sign for sign in _SEPARATORS if sign in name), None)
    return [name] if used is None else name.split(used)


def other_header(names: Sequence[str], hidden: Callable[[str], bool]) -> str | None:
    """What is wrong with the header line of a CSV file, if it has one column or data in it; None otherwise.

    Args:
        names: the names of the columns.
        hidden: whether a cell of the line may be what the spec erases, and is not repeated.
    """
    used = [sign for sign in _SEPARATORS if len(names) == 1 and sign in names[0]]
    cells = header_cells(names[0]) if used else list(names)
    found, keys = [], []
    # Cells are left out first: a part of a cell at the end would not be recognised.
    left = ["..." if hidden(cell) else cell for cell in cells]
    shown = f"header {(used[0] if used else ',').join(left)[:80]!r}"
    if all(cell == "..." for cell in left):
        shown = f"first line, of {len(','.join(names)):,} characters,"
    if used:
        found.append(f"is one column, which seems to be separated by {_SEPARATORS[used[0]]}")
        keys.append("delimiter: '" + used[0].replace("\t", "\\t") + "'")
    if any(_NUMBER.fullmatch(cell.strip()) for cell in cells):
        found.append("contains numbers, as if the header line were absent")
        count = f"the names of its {len(cells)} columns" if len(cells) > 1 else "the column's name"
        keys += ["header: false", f"names: [...] with {count}"]
    if not found:
        return None
    return f"The {shown} {' and '.join(found)}: write {', '.join(keys)} into the source."


def without_other_letters(name: str, names: Iterable[str]) -> list[str]:
    """The names made of at least half of the letters of a name, and no others: they tell nothing that is not in the spec."""
    letters = _letters(name)
    return [
        other
        for other in names
        if _letters(other) <= letters and 2 * _letters(other).total() >= letters.total()
    ]


def _letters(name: str) -> Counter[str]:
    """The letters and digits of a name, without their case."""
    return Counter(filter(str.isalnum, name.casefold()))


def same_letters(name: str, names: Iterable[str]) -> str | None:
    """A name that differs from another only in its Unicode form, with escapes for YAML; None if there is none."""
    form = unicodedata.normalize("NFC", name)
    same = (n for n in names if n != name and unicodedata.normalize("NFC", n) == form)
    return next(map(json.dumps, same), None)


def escaped_quote(text: str, separator: str = ",") -> int | None:
    """The line, from 1, of the first quoted cell of a CSV text with a quote escaped by a backslash; None without one.

    A backslash before the closing quote of a cell is an ordinary character.
    """
    comma = re.escape(separator)
    cell = rf'(?:^|{comma})"(?:[^"\\]|""|\\(?!"))*\\"[^"{comma}\r\n]'
    found = re.search(cell, text, re.MULTILINE) if '\\"' in text else None
    return None if found is None else text.count("\n", 0, found.end()) + 1
