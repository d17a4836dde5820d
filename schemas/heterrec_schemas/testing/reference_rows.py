"""The reference's rows: those that are kept, one per key, and rejects."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from heterrec_schemas.testing.reference_hashes import Hashes
from heterrec_schemas.testing.reference_values import (
    RawTable,
    RefusedError,
    Row,
    check_key,
    is_integer_column,
    key_of,
    raw_text,
    shown,
    stable_hash,
)

Reject = tuple[str, str, str, str | None]
"""source, column, reason, value."""

PLACED = {
    "malformed_row",
    "missing_key",
    "time_unreadable",
    "time_out_of_range",
    "order_unreadable",
    "unknown_behaviour",
    "unknown_item",
}
"""Reasons that concern one row alone, so that its position is determined."""


class Rejects:
    """Rejected rows and cells, and the rows of each source that they touch."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        self.entries: Counter[Reject] = Counter()
        self.places: Counter[tuple[str, str, int, str]] = Counter()
        self.tables: dict[str, RawTable] = {}
        self.touched: dict[str, dict[str, set[int]]] = {}

    def source(self, name: str, table: RawTable) -> None:
        """Begin a source; its incomplete rows are rejects."""
        self.tables[name] = table
        self.touched[name] = {}
        for row in sorted(table.short):
            self.add(name, row, "", "malformed_row", None)

    def add(self, source: str, row: int, column: str, reason: str, value: str | None) -> None:
        """Count one reject of a row."""
        self.entries[source, column, reason, self.hashes.told(value)] += 1
        self.touched[source].setdefault(reason, set()).add(row)
        if reason in PLACED:
            self.places[source, *self.tables[source].places[row], reason] += 1

    def check(self, limits: float | dict[str, float]) -> None:
        """Raise RefusedError if the rejects of a source exceed a ratio, by reason where a reason has a limit of its own."""
        if not isinstance(limits, dict):
            limits = {"default": limits}
        for source, table in self.tables.items():
            for name, limit in ({"default": 0.01} | limits).items():
                rows: set[int] = set()
                for reason, touched in self.touched[source].items():
                    if name == (reason if reason in limits else "default"):
                        rows |= touched
                ratio = Fraction(len(rows), max(1, len(table.rows)))
                if ratio > Fraction(str(limit)):
                    raise RefusedError(f"{source}: too many rejects ({name}), {float(ratio):.3g}")


@dataclass
class KeptRows:
    """The kept rows of a table: key text -> (position in the source, row)."""

    rows: dict[str, tuple[int, Row]]
    read: int
    rejected: int
    repeated: int


def require_columns(table: RawTable, names: list[str]) -> None:
    """Raise RefusedError if the table lacks a column."""
    absent = [name for name in names if not table.has(name)]
    if absent:
        raise RefusedError(f"the data lacks {absent}")


def key_is_integral(table: RawTable, key: str) -> bool:
    """Whether a key column is int64; RefusedError as in `check_key`."""
    cells = table.column(key)
    check_key(key, cells)
    return bool(is_integer_column(cells))


def one_row_per_key(
    source: str,
    table: RawTable,
    key: str,
    columns: dict[str, bool],
    duplicate: str,
    rejects: Rejects,
    missing_keys: list[Any],
) -> KeptRows:
    """Equal rows count as one; of different ones that with the smallest hash is kept.

    `columns` maps the table's feature columns, in the spec's order, to whether they hold vectors; `missing_keys` are further
    keys that mean missing.
    """
    rejects.source(source, table)
    kept = KeptRows(rows={}, read=0, rejected=0, repeated=0)
    groups: dict[str, dict[str, list[tuple[int, Row]]]] = {}
    for position, row in enumerate(table.rows):
        if row is None:
            rejects.add(source, position, "", "malformed_row", None)
            kept.read += 1
            kept.rejected += 1
            continue
        text = key_of(row.get(key), missing_keys)
        if text is None:
            if position not in table.short:
                rejects.add(source, position, key, "missing_key", shown(row.get(key)))
            kept.read += 1
            kept.rejected += 1
            continue
        cells = [raw_text(row.get(c), vector=vector) for c, vector in columns.items()]
        joined = "\x1f".join([text, *cells])
        groups.setdefault(text, {}).setdefault(joined, []).append((position, row))
    for text, different in groups.items():
        winner = min(different, key=stable_hash)
        kept.rows[text] = different[winner][0]
        for joined, copies in different.items():
            kept.read += 1
            kept.repeated += len(copies) - 1
            if joined != winner:
                kept.rejected += 1
                position, row = copies[0]
                rejects.add(source, position, key, duplicate, shown(row[key]))
    return kept
