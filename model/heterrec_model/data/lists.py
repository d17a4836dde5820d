"""Lists of unequal length as flat NumPy columns.

Shapes: R lists, N values of all of them, B chosen lists, L the longest of these.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Extents:
    """Where lists stand in flat columns; several columns of equal lengths share one.

    Attributes:
        starts_R: the place of each list's first value, int64.
        lengths_R: how many values each list has, int64.
    """

    starts_R: Integers
    lengths_R: Integers

    @classmethod
    def of(cls, lengths_R: Integers) -> Self:
        """The extents of lists that follow one another."""
        ends_R = np.cumsum(lengths_R, dtype=np.int64)
        return cls(ends_R - lengths_R, lengths_R)

    def last(self, longest: int) -> Self:
        """The lists cut to their last values; the flat columns stay as they are."""
        lengths_R = np.minimum(self.lengths_R, longest)
        return type(self)(self.starts_R + (self.lengths_R - lengths_R), lengths_R)

    def places(self) -> Integers:
        """The places of all values, list after list: [N]."""
        ends_R = np.cumsum(self.lengths_R, dtype=np.int64)
        shifts_R = self.starts_R - (ends_R - self.lengths_R)
        return np.repeat(shifts_R, self.lengths_R) + np.arange(ends_R[-1] if len(ends_R) else 0)

    def grid(self, rows_B: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """The places of some lists' values side by side.

        Returns:
            Places [B, L], where a list has ended those of its last value; and whether it has not, [B, L]. A list
            without values has no last one: its places mean nothing.
        """
        lengths_B = self.lengths_R[rows_B]
        steps_L = np.arange(lengths_B.max(initial=0))
        valid_BL = steps_L < lengths_B[:, None]
        within_BL = np.minimum(steps_L, np.maximum(lengths_B - 1, 0)[:, None])
        return self.starts_R[rows_B][:, None] + within_BL, valid_BL


@dataclass(frozen=True, eq=False)
class Lists:
    """One column of lists.

    Attributes:
        values_N: the flat values.
        extents: where each list stands in them.
    """

    values_N: npt.NDArray[Any]
    extents: Extents

    def padded(self, rows_B: Integers) -> Integers:
        """Some lists side by side, padded with 0 on the right: [B, L] int64."""
        places_BL, valid_BL = self.extents.grid(rows_B)
        padded_BL = np.zeros(valid_BL.shape, np.int64)
        padded_BL[valid_BL] = self.values_N[places_BL[valid_BL]]
        return padded_BL

    def cell(self, row: int) -> Integers:
        """The values of one list, as a copy."""
        start, length = self.extents.starts_R[row], self.extents.lengths_R[row]
        return self.values_N[start : start + length].astype(np.int64)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def numbers(column: pa.Array) -> npt.NDArray[Any]:
    """An Arrow column of numbers without a copy; it cannot be written to.

    Arrow's own `to_numpy` imports pandas where it is installed, which takes a process half a second.
    """
    return np.from_dlpack(column)


def list_lengths(column: pa.Array) -> Integers:
    """How many values each list of an Arrow column has: [R] int64."""
    return numbers(pc.list_value_length(column)).astype(np.int64)


def lists_of(column: pa.Array) -> Lists:
    """An Arrow column of lists, without copying its values."""
    return Lists(numbers(column.flatten()), Extents.of(list_lengths(column)))


def concat_lists(parts: list[Lists]) -> Lists:
    """Lists after one another; those of each part follow one another already."""
    lengths_R = np.concatenate([part.extents.lengths_R for part in parts])
    return Lists(np.concatenate([part.values_N for part in parts]), Extents.of(lengths_R))
