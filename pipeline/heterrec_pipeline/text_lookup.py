"""Lookup of the numbers of texts: built once from an index, then used batch by batch.

A join would hash the whole index again for every batch, which for a large catalogue takes most of the time of a build.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_schemas.hashing import hash_texts


class Lookup:
    """The numbers of distinct texts, sorted by hash; the upper bits of a hash give the range to search.

    Shapes: N texts in the index, M texts per lookup.
    """

    def __init__(self, texts: pl.Series, numbers: pl.Series) -> None:
        """Take N distinct texts (no null), and their numbers (int64)."""
        hashes = _hashes(texts)
        order = np.argsort(hashes)
        self._hashes_N = hashes[order]
        self._texts = texts.gather(order)
        self._numbers_N = numbers.to_numpy()[order]
        bits = max(1, len(texts).bit_length())
        self._shift = np.uint64(64 - bits)
        counts = np.bincount((self._hashes_N >> self._shift).astype(np.int64), minlength=1 << bits)
        self._starts = np.append(0, np.cumsum(counts))
        twins = np.append(self._hashes_N[1:] == self._hashes_N[:-1], False)
        # Two texts with one hash are next to impossible among the keys of a shop; then every lookup is a join.
        self._has_twins = bool(twins.any())

    @classmethod
    def empty(cls) -> "Lookup":
        """A lookup without texts."""
        return cls(pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.Int64))

    def find(self, texts: pl.Series) -> pl.Series:
        """The numbers of M texts (int64); null where a text is unknown or null."""
        if self._has_twins:
            return self._joined(texts)
        at, known = self._positions(_hashes(texts))
        if len(self._texts):
            known &= (self._texts.gather(at) == texts).fill_null(False).to_numpy()
        numbers = self._numbers_N[at] if len(self._texts) else np.zeros(len(texts), np.int64)
        series = pl.Series(numbers, dtype=pl.Int64)
        return series if known.all() else series.set(pl.Series(~known), None)

    def _positions(
        self, hashes_M: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The position of each hash in the index, and whether the index has it: [M] each."""
        part = (hashes_M >> self._shift).astype(np.int64)
        at, end = self._starts[part], self._starts[part + 1]
        known = np.zeros(len(at), dtype=np.bool_)
        left = np.flatnonzero(at < end)
        while len(left):  # about two rounds, since there are about as many ranges as texts
            hit = self._hashes_N[at[left]] == hashes_M[left]
            known[left[hit]] = True
            left = left[~hit]
            at[left] += 1
            left = left[at[left] < end[left]]
        at[~known] = 0
        return at, known

    def _joined(self, texts: pl.Series) -> pl.Series:
        index = pl.DataFrame({"text": self._texts, "number": self._numbers_N})
        wanted = pl.DataFrame({"text": texts})
        return wanted.join(index, on="text", how="left", maintain_order="left")["number"]


def _hashes(texts: pl.Series) -> npt.NDArray[np.uint64]:
    return hash_texts(texts).fill_null(0).to_numpy()
