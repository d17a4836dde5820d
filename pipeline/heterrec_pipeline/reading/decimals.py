"""Numbers with a decimal comma, in the texts of columns that are read as numbers."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from heterrec_schemas.values import is_text

_NUMBER = r"^\s*[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)?(?:,\d*)?(?:[eE][+-]?\d+)?\s*$"
"""A number with a decimal comma and, perhaps, points between groups of three digits."""


def with_points(arrays: list[pa.Array], are_numbers: Sequence[bool]) -> list[pa.Array]:
    """Text columns with a decimal point instead of a comma, in those of some columns that are numbers.

    A cell with a point that does not separate groups of three digits is no number: its text says why.
    """
    return [
        _with_points(array) if chosen and is_text(array.type) else array
        for array, chosen in zip(arrays, are_numbers, strict=True)
    ]


def _with_points(array: pa.Array) -> pa.Array:
    cells = pl.Series("cell", array).cast(pl.String).to_frame()
    cell = pl.col("cell")
    point = cell.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    other = pl.when(cell.str.contains(".", literal=True)).then(cell + " (decimal: ',')")
    number = pl.when(cell.str.contains(_NUMBER)).then(point)
    return cells.select(number.otherwise(other.otherwise(cell)))["cell"].to_arrow()
