"""Lists of unequal length as flat NumPy arrays.

Shapes: R lists, N values of all lists, B chosen lists, L the length of the longest of these.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ListExtents:
    """Starts and lengths of lists in flat arrays; columns with equal list lengths share one.

    Attributes:
        starts_R: index of the first value of each list, int64.
        lengths_R: number of values of each list, int64.
    """

    starts_R: IntArray
    lengths_R: IntArray

    @classmethod
    def of(cls, lengths_R: IntArray) -> Self:
        """The extents of consecutive lists."""
        ends_R = np.cumsum(lengths_R, dtype=np.int64)
        return cls(ends_R - lengths_R, lengths_R)

    def last(self, longest: int) -> Self:
        """Truncate the lists to their last values; the flat arrays do not change."""
        lengths_R = np.minimum(self.lengths_R, longest)
        return type(self)(self.starts_R + (self.lengths_R - lengths_R), lengths_R)

    def pieces(self, longest: int) -> tuple[Self, IntArray]:
        """Cut the lists into pieces from their ends; the flat arrays do not change.

        A list's pieces follow each other, the last values first. A remainder of one value is omitted, unless it is the whole
        list. With `longest` 1 a list has one piece, its last value.

        Returns:
            The P pieces, and the number of the list of each piece, [P].
        """
        whole_R, rest_R = np.divmod(self.lengths_R, longest)
        counts_R = np.maximum(whole_R + (rest_R > 1), 1) if longest > 1 else np.ones_like(whole_R)
        row_P = np.repeat(np.arange(len(counts_R)), counts_R)
        before_R = np.cumsum(counts_R) - counts_R
        later_P = (np.arange(len(row_P)) - before_R[row_P]) * longest
        lengths_P = np.minimum(self.lengths_R[row_P] - later_P, longest)
        starts_P = self.starts_R[row_P] + self.lengths_R[row_P] - later_P - lengths_P
        return type(self)(starts_P, lengths_P), row_P

    def rows(self, chosen_R: npt.NDArray[np.bool_]) -> Self:
        """Some of the lists; the flat arrays do not change."""
        return type(self)(self.starts_R[chosen_R], self.lengths_R[chosen_R])

    def indices(self) -> IntArray:
        """Indices of all values, list after list: [N]."""
        ends_R = np.cumsum(self.lengths_R, dtype=np.int64)
        shifts_R = self.starts_R - (ends_R - self.lengths_R)
        return np.repeat(shifts_R, self.lengths_R) + np.arange(ends_R[-1] if len(ends_R) else 0)

    def padded_indices(self, rows_B: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Indices of the values of some lists, one list per row.

        Returns:
            Indices [B, L], padded with the index of the list's last value, and whether a cell is real, [B, L]. The
            indices of an empty list are meaningless.
        """
        lengths_B = self.lengths_R[rows_B]
        steps_L = np.arange(lengths_B.max(initial=0))
        valid_BL = steps_L < lengths_B[:, None]
        within_BL = np.minimum(steps_L, np.maximum(lengths_B - 1, 0)[:, None])
        return self.starts_R[rows_B][:, None] + within_BL, valid_BL


@dataclass(frozen=True, eq=False)
class RaggedArray:
    """One column of lists.

    Attributes:
        values_N: the flat values.
        extents: start and length of each list in them.
    """

    values_N: npt.NDArray[Any]
    extents: ListExtents

    def padded(self, rows_B: IntArray) -> IntArray:
        """Some lists, padded with 0 on the right: [B, L] int64."""
        indices_BL, valid_BL = self.extents.padded_indices(rows_B)
        padded_BL = np.zeros(valid_BL.shape, np.int64)
        padded_BL[valid_BL] = self.values_N[indices_BL[valid_BL]]
        return padded_BL

    def cell(self, row: int) -> IntArray:
        """Copy of the values of one list."""
        start, length = self.extents.starts_R[row], self.extents.lengths_R[row]
        return self.values_N[start : start + length].astype(np.int64)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy if it has one chunk."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def as_numpy(column: pa.Array) -> npt.NDArray[Any]:
    """A read-only NumPy view of an Arrow column of numbers.

    Arrow's own `to_numpy` imports pandas if it is installed, which takes half a second per process.
    """
    return np.from_dlpack(column)


def list_lengths(column: pa.Array) -> IntArray:
    """Length of each list of an Arrow column: [R] int64."""
    return as_numpy(pc.list_value_length(column)).astype(np.int64)


def ragged_array(column: pa.Array) -> RaggedArray:
    """An Arrow column of lists, without copying its values."""
    return RaggedArray(as_numpy(column.flatten()), ListExtents.of(list_lengths(column)))


def concat_ragged(parts: list[RaggedArray]) -> RaggedArray:
    """Concatenate columns of lists; the lists of each part are consecutive."""
    lengths_R = np.concatenate([part.extents.lengths_R for part in parts])
    return RaggedArray(np.concatenate([part.values_N for part in parts]), ListExtents.of(lengths_R))
