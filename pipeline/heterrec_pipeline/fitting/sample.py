"""Samples of vectors that do not depend on the order in which they are read: those with the smallest hashes of their keys."""

import json

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.statistics.distinct import NO_HASHES, distinct_rows, row_hashes, smallest
from heterrec_pipeline.statistics.neighbours import VECTORS
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tokens import quantizer_edges

SLACK = 1.25
"""Factor by which a sample may exceed its size before it is cut back."""
FOUND = b"found"
"""Key of the metadata of a `VectorSample`'s table: {vectors, distinct, exact} as JSON."""


class BlockSample:
    """The vectors of a block of dimensions; where there are too many, those with the smallest (hash, key).

    Shapes: W dimensions of the block, N vectors.
    """

    def __init__(self, width: int, population: int, limit: int, *, ordered: bool = False) -> None:
        """Allocate room for the population, or for a sample of `limit` with some slack; `ordered` keeps the keys too."""
        self.limited = population > limit
        self.keyed = self.limited or ordered
        self.limit = limit
        room = int(limit * SLACK) + 1 if self.limited else population
        self.values_WN = np.empty((width, room), dtype=np.float32)
        self.hashes = np.empty(room if self.keyed else 0, dtype=np.uint64)
        self.keys: list[pl.Series] = []
        self.bound: np.uint64 | None = None
        """The largest hash of a full sample; vectors with a larger one are none of it."""
        self.count = 0

    def add(self, values_NW: npt.NDArray[np.float32], keys: pl.Series) -> None:
        """Add vectors with their keys."""
        room = self.values_WN.shape[1]
        hashes = hash_texts(keys).to_numpy() if self.keyed else None
        if self.bound is not None and hashes is not None:
            near = np.flatnonzero(hashes <= self.bound)
            values_NW, hashes, keys = values_NW[near], hashes[near], keys.gather(near)
        start = 0
        while start < len(values_NW):
            stop = min(len(values_NW), start + room - self.count)
            piece = values_NW[start:stop]
            self.values_WN[:, self.count : self.count + len(piece)] = piece.T
            if hashes is not None:
                self.hashes[self.count : self.count + len(piece)] = hashes[start:stop]
                self.keys.append(keys.slice(start, len(piece)))
            self.count += len(piece)
            start = stop
            if self.limited and self.count == room:
                self.cut()

    def cut(self) -> None:
        """Keep only the smallest (hash, key)."""
        if not self.limited or self.count <= self.limit:
            return
        keys = pl.concat(self.keys)
        order = pl.DataFrame({"hash": self.hashes[: self.count], "key": keys})
        best = order.with_row_index("at").sort("hash", "key").head(self.limit)["at"].sort()
        at = best.to_numpy()
        for row in self.values_WN:
            row[: len(at)] = row[at]
        self.hashes[: len(at)] = self.hashes[at]
        self.keys = [keys.gather(best)]
        self.count = len(at)
        self.bound = self.hashes[: self.count].max()

    def vectors(self) -> npt.NDArray[np.float32]:
        """The vectors in no particular order: [N, W]."""
        self.cut()
        values_NW: npt.NDArray[np.float32] = self.values_WN[:, : self.count].T
        return values_NW

    def ordered(self) -> npt.NDArray[np.float32]:
        """The vectors in the order of (hash, key), without -0.0: [N, W]."""
        self.cut()
        order = pl.DataFrame({"hash": self.hashes[: self.count], "key": pl.concat(self.keys)})
        at = order.with_row_index("at").sort("hash", "key")["at"].to_numpy()
        values_NW: npt.NDArray[np.float32] = self.values_WN.T[at]
        values_NW += np.float32(0.0)  # -0.0 becomes +0.0
        return values_NW

    def edges(self, quantiles: int) -> npt.NDArray[np.float32]:
        """The quantile edges of the block: [q - 1, W]."""
        self.cut()
        whole = self.count == self.values_WN.shape[1]
        values = self.values_WN if whole else np.ascontiguousarray(self.values_WN[:, : self.count])
        values += np.float32(0.0)  # -0.0 becomes +0.0
        return quantizer_edges(values, quantiles)


class VectorSample:
    """What statistics tell of the vectors of a feature: how many there are, how many distinct ones, and some of them.

    Shapes: N distinct vectors of the sample, D dimensions.

    Args:
        dim: D.
        population: number of vectors.
    """

    def __init__(self, dim: int, population: int) -> None:
        self._sample = BlockSample(dim, population, VECTORS, ordered=True)
        self._hashes, self._count = NO_HASHES, 0

    def add(self, values_ND: npt.NDArray[np.float32], keys: pl.Series) -> None:
        """Add vectors with their keys."""
        self._sample.add(values_ND, keys)
        self._hashes = smallest(self._hashes, row_hashes(values_ND + np.float32(0.0)))
        self._count += len(values_ND)

    def table(self) -> pa.Table:
        """The distinct vectors of the sample in an order that does not depend on them, in the column `vector`."""
        different_ND = np.unique(self._sample.ordered(), axis=0)
        different_ND = different_ND[np.argsort(row_hashes(different_ND), kind="stable")]
        found = {"vectors": self._count, **distinct_rows(self._hashes)}
        cells = pa.FixedSizeListArray.from_arrays(
            pa.array(different_ND.ravel()), different_ND.shape[1]
        )
        return pa.table({"vector": cells}).replace_schema_metadata({FOUND: json.dumps(found)})
