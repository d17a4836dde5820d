"""The raw rows of JSON lines: members of objects by dotted names, elements of lists, and cells of a fixed type."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heterrec_pipeline.reading.batches import BadRow
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import jsonl
from heterrec_pipeline.reading.formats.text import lines
from heterrec_pipeline.reading.shaping.arrow_rows import RawRows
from heterrec_pipeline.reading.shaping.cells import from_json, json_words
from heterrec_pipeline.reading.shaping.nested import ELEMENTS
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_schemas.rejects import Reason

MAX_LEVELS = 16
"""Maximum number of objects inside each other whose members have dotted names."""
MAX_NAMES = 2_000
"""Maximum number of dotted names that are looked for in the objects of a file."""


class _NoListError(Exception):
    """What is to be unnested is no list: the column and the value."""


def json_rows(file: InputFile, passed: Sequence[str], roots: Sequence[str]) -> Iterator[RawRows]:
    """The rows of a JSON lines file; an absent member is null.

    Args:
        file: the file.
        passed: the columns of the result, of the narrowest type of a batch.
        roots: the columns that expressions read, each cell in its own type.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
        SchemaMismatchError: a cell of a passed column is an object.
    """
    names = list(dict.fromkeys([*passed, *roots]))
    folders = partition_values(file.name)
    unnest = file.source.unnest if file.source else None
    next_row = 0
    for block in lines(file):
        cells: dict[str, list[Any]] = {name: [] for name in names}
        rows: list[int] = []
        bad: list[BadRow] = []
        for line in block:
            if not line or line.isspace():
                continue
            first = next_row * (ELEMENTS if unnest else 1)
            try:
                found = _cells(line, file, names, unnest, folders)
                if found is None:
                    bad.append(BadRow(first, Reason.MALFORMED_ROW, jsonl.shown(line)))
                elif len(found) > ELEMENTS:
                    many = f"more than {ELEMENTS:,} elements"
                    bad.append(BadRow(first, Reason.MALFORMED_ROW, many, unnest or ""))
                else:
                    for k, row in enumerate(found):
                        for name, cell in zip(names, row, strict=True):
                            cells[name].append(cell)
                        rows.append(first + k)
            except _NoListError as error:
                column, value = error.args
                bad.append(BadRow(first, Reason.WRONG_TYPE, value, column))
            next_row += 1
        seen = {name: from_json(cells[name]) for name in roots}
        yield RawRows(
            {name: jsonl.typed(cells[name], name, file.name) for name in passed},
            np.array(rows, dtype=np.int64),
            bad,
            (),
            {},
            {name: found for name, (found, _) in seen.items()},
            {name: unseen for name, (_, unseen) in seen.items()},
        )


def _cells(
    line: bytes,
    file: InputFile,
    names: Sequence[str],
    unnest: str | None,
    folders: Mapping[str, str | None],
) -> list[list[Any]] | None:
    """The cells of the rows of a line; None if it is not a JSON object."""
    parsed = jsonl.parse(line, file)
    if not isinstance(parsed, dict):
        return None
    found = _looked_up(parsed, names, unnest, folders)
    if any(jsonl.beyond(cell) for row in found for cell in row):
        exact = jsonl.parse_slowly(line, file)
        return None if exact is None else _looked_up(exact, names, unnest, folders)
    return found


def _looked_up(
    parsed: dict[str, Any],
    names: Sequence[str],
    unnest: str | None,
    folders: Mapping[str, str | None],
) -> list[list[Any]]:
    rows = [parsed] if unnest is None else elements(parsed, unnest)
    return [[folders[n] if n in folders else member(row, n) for n in names] for row in rows]


def elements(parsed: dict[str, Any], unnest: str) -> list[dict[str, Any]]:
    """An object for each element of a list, which has the place of the list; none for an absent or empty list.

    Raises:
        _NoListError: it is no list.
    """
    found = member(parsed, unnest)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _NoListError(unnest, json_words(found))
    return [parsed | {unnest: element} for element in found]


def member(parsed: Mapping[str, Any], name: str) -> Any:
    """The value of a member by its name, or of a member of inner objects by its dotted name; None if it is absent."""
    if name in parsed or "." not in name:
        return parsed.get(name)
    parts = name.split(".")
    for k in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:k])
        if outer not in parsed:
            continue
        inner = parsed[outer]
        return member(inner, ".".join(parts[k:])) if isinstance(inner, dict) else None
    return None


def flat_rows(
    parsed: dict[str, Any], unnest: str | None, names: set[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a parsed line with the members of inner objects by their dotted names.

    Args:
        parsed: the object of the line.
        unnest: the list to unnest.
        names: the dotted names met so far; at most `MAX_NAMES` are looked for.
    """
    try:
        rows = [parsed] if unnest is None else elements(parsed, unnest)
    except _NoListError:
        return
    for row in rows:
        flat = dict(row)
        for name, value in row.items():
            if isinstance(value, dict):
                for dotted, inner in _members(name, value, names):
                    flat.setdefault(dotted, inner)
        yield flat


def _members(name: str, value: dict[str, Any], names: set[str]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        dotted = f"{name}.{key}"
        if dotted not in names:
            if len(names) >= MAX_NAMES:
                continue
            names.add(dotted)
        yield dotted, inner
        if isinstance(inner, dict) and dotted.count(".") < MAX_LEVELS:
            yield from _members(dotted, inner, names)
