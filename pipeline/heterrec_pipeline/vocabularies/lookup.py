"""Texts to their numbers: made once of an index, asked batch by batch.

A join would hash the whole index again for every batch, which for a large catalogue is most of the time of a build.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_schemas.hashing import hash_texts


class Lookup:
    """The numbers of distinct texts, sorted by hash; the upper bits of a hash say where to look for it.

    Shapes: N texts, M of them asked for.
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
        # Two texts of one hash are next to impossible among the keys of one shop; then all is asked in the slow way.
        self._has_twins = bool(twins.any())

    def find(self, texts: pl.Series) -> pl.Series:
        """The numbers of M texts (int64); null where a text is unknown or null."""
        if self._has_twins:
            return self._joined(texts)
        at, found = self._positions(_hashes(texts))
        if len(self._texts):
            found &= (self._texts.gather(at) == texts).fill_null(False).to_numpy()
        numbers = self._numbers_N[at] if len(self._texts) else np.zeros(len(texts), np.int64)
        series = pl.Series(numbers, dtype=pl.Int64)
        return series if found.all() else series.set(pl.Series(~found), None)

    def _positions(
        self, hashes_M: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where in the index each hash stands, and whether it does: [M] each."""
        part = (hashes_M >> self._shift).astype(np.int64)
        at, end = self._starts[part], self._starts[part + 1]
        found = np.zeros(len(at), dtype=np.bool_)
        asked = np.flatnonzero(at < end)
        while len(asked):  # about two rounds, for there are about as many parts as texts
            hit = self._hashes_N[at[asked]] == hashes_M[asked]
            found[asked[hit]] = True
            asked = asked[~hit]
            at[asked] += 1
            asked = asked[at[asked] < end[asked]]
        at[~found] = 0
        return at, found

    def _joined(self, texts: pl.Series) -> pl.Series:
        known = pl.DataFrame({"text": self._texts, "number": self._numbers_N})
        asked = pl.DataFrame({"text": texts})
        return asked.join(known, on="text", how="left", maintain_order="left")["number"]


def _hashes(texts: pl.Series) -> npt.NDArray[np.uint64]:
    return hash_texts(texts).fill_null(0).to_numpy()
