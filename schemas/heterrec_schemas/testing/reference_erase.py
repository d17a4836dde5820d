"""The reference's erasure: rows with an erased key are gone before anything reads them, erased values are missing."""

from dataclasses import dataclass, field
from pathlib import Path

from heterrec_schemas.testing.reference_values import (
    RawTable,
    RefusedError,
    Row,
    read_table,
    text_of,
)


@dataclass
class Erased:
    """The texts of everything that is erased."""

    users: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    """By vocabulary: <feature> or user_<feature>."""


def read_erased(spec: Row, input_dir: Path) -> Erased:
    """Read every list of a spec.

    Raises:
        RefusedError: a list lacks its column, or has a row that cannot be read.
    """
    erase = spec.get("erase", {})
    return Erased(
        _texts(erase.get("users"), input_dir),
        _texts(erase.get("items"), input_dir),
        {name: _texts(listed, input_dir) for name, listed in erase.get("values", {}).items()},
    )


def _texts(listed: Row | None, input_dir: Path) -> set[str]:
    if listed is None:
        return set()
    table = read_table(listed["source"], input_dir)
    if table.rows and not table.has(listed["key"]):
        raise RefusedError(f"the list of what is erased lacks {listed['key']}")
    if table.short or None in table.rows:
        raise RefusedError("the list of what is erased has a bad row")
    texts = (text_of(cell) for cell in table.column(listed["key"]))
    return {text for text in texts if text is not None}


def with_erased_values(spec: Row, erased: Erased) -> Row:
    """The spec with the erased values of each feature under `erased`, whose cells are read without them."""
    sides = {}
    for side, prefix in (("items", ""), ("users", "user_")):
        if side in spec:
            features = [
                f | {"erased": erased.values.get(prefix + f["name"], set())}
                for f in spec[side].get("features", [])
            ]
            sides[side] = spec[side] | {"features": features}
    return spec | sides


def without_erased(table: RawTable, dead: dict[str, set[str]]) -> tuple[RawTable, int]:
    """A table without the rows that have an erased text in one of some columns, and the number of these rows."""
    kept = [
        k
        for k, row in enumerate(table.rows)
        if row is None or not any(text_of(row.get(c)) in texts for c, texts in dead.items())
    ]
    return table.only(kept), len(table.rows) - len(kept)
