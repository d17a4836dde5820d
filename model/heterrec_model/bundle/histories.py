"""The histories of a bundle: an Arrow file that is memory-mapped.

Its rows are those of the generation's shards in their order: shard = hash(user) mod the number of shards, sorted by the hash
inside. The schema's metadata has the number of rows of every shard.

Shapes: U users.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from heterrec_schemas.errors import BundleError
from heterrec_schemas.hashing import stable_hash

USER_ID, USER_HASH = "user_id", "user_hash"
ITEM, TIME, BEHAVIOUR = "item_index", "timestamp_ms", "behaviour"
SEGMENT = "segment"
USER_FEATURE = "user_"
"""Prefix of the columns of user features, whose cells are lists of tokens."""
SHARD_ROWS = b"shard_rows"
"""Key of the metadata: a JSON list."""


@dataclass(frozen=True)
class HistoryRow:
    """One row of the file.

    Attributes:
        user_id: of the user.
        item_T: item_index of all items, oldest first, int64.
        time_T: milliseconds since 1970, int64.
        behaviour_T: ids of behaviours, int64; None without behaviours.
        user_features: tokens by feature, int64.
        segment: see `EncodedHistory`.
    """

    user_id: int | str
    item_T: npt.NDArray[np.int64]
    time_T: npt.NDArray[np.int64]
    behaviour_T: npt.NDArray[np.int64] | None
    user_features: dict[str, npt.NDArray[np.int64]]
    segment: str | None


class Histories:
    """The rows of an Arrow file of histories.

    Args:
        path: of the file.
        features: names of the user features to read.

    Raises:
        BundleError: the file cannot be read.
    """

    def __init__(self, path: Path, features: Sequence[str]) -> None:
        self._features = features
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
            shards = json.loads(reader.schema.metadata[SHARD_ROWS])
        except (OSError, pa.ArrowException, TypeError, KeyError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from None
        self._first = _starts([len(batch) for batch in self._batches])
        self._shard_first = _starts(shards)

    def __len__(self) -> int:
        return int(self._first[-1])

    @cached_property
    def _hash_U(self) -> npt.NDArray[np.uint64]:
        parts = [batch.column(USER_HASH).to_numpy() for batch in self._batches]
        return np.concatenate([np.zeros(0, np.uint64), *parts])

    def find(self, user: int | str) -> HistoryRow | None:
        """The row of a user; None if there is none."""
        wanted = stable_hash(str(user))
        shard = wanted % (len(self._shard_first) - 1)
        start, stop = self._shard_first[shard : shard + 2].tolist()
        place = start + int(np.searchsorted(self._hash_U[start:stop], np.uint64(wanted)))
        while place < stop and self._hash_U[place] == wanted:
            row = self.row(place)
            if row.user_id == user:
                return row
            place += 1
        return None

    def row(self, place: int) -> HistoryRow:
        """The row at a place, 0 <= place < U."""
        number = int(np.searchsorted(self._first, place, side="right")) - 1
        return self._row(self._batches[number], place - int(self._first[number]))

    def rows(self, start: int, stop: int) -> Iterator[HistoryRow]:
        """The rows of some places, in order."""
        for place in range(start, stop):
            yield self.row(place)

    def user_ids(self, start: int, stop: int) -> list[int | str]:
        """The ids at some places, without reading histories."""
        table = pa.Table.from_batches([b.select([USER_ID]) for b in self._batches])
        found: list[int | str] = table.slice(start, stop - start)[USER_ID].to_pylist()
        return found

    def _row(self, batch: pa.RecordBatch, row: int) -> HistoryRow:
        names = batch.schema.names
        behaviour_T = _cell(batch.column(BEHAVIOUR), row) if BEHAVIOUR in names else None
        segment = batch.column(SEGMENT)[row].as_py() if SEGMENT in names else None
        return HistoryRow(
            user_id=batch.column(USER_ID)[row].as_py(),
            item_T=_cell(batch.column(ITEM), row),
            time_T=_cell(batch.column(TIME), row),
            behaviour_T=behaviour_T,
            user_features={
                name: _cell(batch.column(USER_FEATURE + name), row) for name in self._features
            },
            segment=segment,
        )


def _starts(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each of some consecutive parts starts, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _cell(column: pa.ListArray, row: int) -> npt.NDArray[np.int64]:
    """A cell of a list column."""
    start, stop = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
    values: npt.NDArray[Any] = column.values.slice(start, stop - start).to_numpy()
    return values.astype(np.int64, copy=False)
