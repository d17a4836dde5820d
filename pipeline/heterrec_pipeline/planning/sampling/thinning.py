"""Rows of some users (or items), but of those all: a bounded sample of whole histories."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_schemas.hashing import hash_texts

ALL = 2**64 - 1


class Thinned:
    """Keeps the rows whose key's hash is small; when they become too many, half of the keys go.

    Attributes:
        whole: whether the rows of all keys are still there.
    """

    def __init__(self, column: str, limit: int | None) -> None:
        """Keep rows by a text column, about `limit` bytes of them; None for all."""
        self.column, self.limit = column, limit
        self.top = ALL
        self.tables: list[pa.Table] = []
        self.hashes: list[npt.NDArray[np.uint64]] = []
        self.bytes = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return self.top == ALL

    def add(self, table: pa.Table) -> npt.NDArray[np.uint64]:
        """Add rows; returns the hashes of all their keys, kept or not."""
        hashes = hash_texts(pl.Series(table[self.column]).cast(pl.String)).to_numpy()
        self._keep(table, hashes)
        while self.limit is not None and self.bytes > self.limit:
            self.top //= 2
            before = list(zip(self.tables, self.hashes, strict=True))
            self.tables, self.hashes, self.bytes = [], [], 0
            for kept, its in before:
                self._keep(kept, its)
        return hashes

    def _keep(self, table: pa.Table, hashes: npt.NDArray[np.uint64]) -> None:
        if not self.whole:
            keep = hashes <= np.uint64(self.top)
            table, hashes = table.filter(pa.array(keep)), hashes[keep]
        if len(table):
            self.tables.append(table)
            self.hashes.append(hashes)
            self.bytes += table.nbytes
