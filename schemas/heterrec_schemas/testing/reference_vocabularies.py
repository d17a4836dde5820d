"""The reference's vocabularies of other systems: a file to the values that take the first ids, in its order."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from heterrec_schemas.testing.reference_values import RefusedError, Row, file_text, text_of


def with_imported_values(spec: Row, input_dir: Path, begun: Collection[tuple[str, str]]) -> Row:
    """The spec with the values of the vocabulary file of each feature under `imported`.

    Args:
        spec: the spec.
        input_dir: the input.
        begun: (side, name) of the features that have ids already.

    Raises:
        RefusedError: a value is missing or repeated, or there is none.
    """
    sides = {}
    for side, name in (("items", "item"), ("users", "user")):
        if side in spec:
            features = [
                f | {"imported": _values(f, input_dir)}
                if "vocabulary" in f and (name, f["name"]) not in begun
                else f
                for f in spec[side].get("features", [])
            ]
            sides[side] = spec[side] | {"features": features}
    return spec | sides


def _values(feature: Row, input_dir: Path) -> list[str]:
    file = str(input_dir / feature["vocabulary"]["path"])
    text = feature["vocabulary"]["format"] == "tensorflow_transform"
    cells = _lines(file) if text else _rows(file)
    values = [text_of(cell, feature.get("missing_values", [])) for cell in cells]
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values) or len(set(found)) < len(found):
        raise RefusedError(f"a value of {file} has no id of its own")
    return found


def _lines(file: str) -> list[Any]:
    lines = file_text(file).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _rows(file: str) -> list[Any]:
    """The column that is not the number of rows of each value; older releases begin with a row for null."""
    table = pq.read_table(file)
    (name,) = [n for n in table.column_names if not n.endswith("_size")]
    values: list[Any] = table[name].to_pylist()
    return values[1:] if values[:1] == [None] else values
