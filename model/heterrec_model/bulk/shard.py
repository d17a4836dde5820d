"""The recommendations of one shard of users as a Parquet file.

Users are answered in blocks that begin at the first user of the shard, whatever the number of workers, so that a shard has
the same bytes whoever writes it.

Shapes: B users of a block, N items of the catalogue, K items of an answer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_model.bulk.users import BulkUser
from heterrec_model.recommending.answer import POPULAR, POPULAR_IN_SEGMENT, Filters
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import EncodedHistory
from heterrec_model.retrieval.exact import NONE, Ints

BLOCK = 512
"""Number of users answered together."""
_ANSWERS = 2**21
"""Largest number of items in the answers of a block or a row group, unless one user has more."""


class Users(Protocol):
    """A source of users."""

    def rows(self, start: int, stop: int) -> list[BulkUser]:
        """The users of some rows."""


@dataclass(eq=False)
class Counts:
    """What a shard contains: fallbacks by kind, and users with fewer than k items."""

    fallbacks: dict[str, int] = field(default_factory=dict)
    short: int = 0


class ShardWriter:
    """Answers users and writes their recommendations.

    Args:
        recommender: of the bundle.
        users: the users.
        k: number of items.
        filters: which items may be recommended.
    """

    def __init__(
        self, recommender: BundleRecommender, users: Users, k: int, filters: Filters
    ) -> None:
        self._recommender, self._users = recommender, users
        self._k, self._filters = k, filters
        self._allowed_N = recommender.allowed(filters)
        self._allowed = None if self._allowed_N is None else np.flatnonzero(self._allowed_N)
        self._denied = recommender.catalogue.positions(filters.deny, "deny")
        info = recommender.bundle.info
        types = {"int64": pa.int64(), "string": pa.string()}
        identity = recommender.identity.model_dump()
        self._schema = pa.schema(
            [
                ("user_id", types[info.user_id_type]),
                ("item_id", pa.list_(types[info.item_id_type])),
                ("item_index", pa.list_(pa.int64())),
                ("score", pa.list_(pa.float32())),
                ("fallback", pa.string()),
            ],
            metadata={"heterrec": json.dumps(identity, sort_keys=True)},
        )

    def write(self, path: Path, start: int, stop: int, on_users: Callable[[int], None]) -> Counts:
        """Write the recommendations of the users of some rows.

        Args:
            path: the new file.
            start: first row.
            stop: the row after the last one.
            on_users: called with the number of users of each block.
        """
        counts = Counts()
        block = max(1, min(BLOCK, _ANSWERS // self._k))
        waiting: list[pa.Table] = []
        with pq.ParquetWriter(path, self._schema, compression="zstd") as writer:
            for first in range(start, stop, block):
                users = self._users.rows(first, min(first + block, stop))
                waiting.append(self._table(users, counts))
                if (len(waiting) + 1) * block * self._k > _ANSWERS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
                on_users(len(users))
            if waiting or start == stop:
                writer.write_table(pa.concat_tables(waiting or [self._schema.empty_table()]))
        return counts

    def _table(self, users: list[BulkUser], counts: Counts) -> pa.Table:
        """The rows of a block."""
        hidden = [self._hidden(user.history) for user in users]
        known = [
            row for row, user in enumerate(users) if user.history is not None and len(user.history)
        ]
        histories = [u.history for u in users if u.history]
        vectors_BD = self._recommender.vectors(histories)
        found = self._recommender.top(
            vectors_BD, histories, self._k, self._allowed, [hidden[row] for row in known]
        )
        place = dict(zip(known, range(len(known)), strict=True))
        positions: list[Ints] = []
        scores: list[npt.NDArray[np.float32]] = []
        fallbacks: list[str | None] = []
        for row, user in enumerate(users):
            if row in place:
                position, score = found.position_BK[place[row]], found.score_BK[place[row]]
                kept = position != NONE
                positions.append(position[kept])
                scores.append(score[kept])
                fallbacks.append(None)
            else:
                fallback, position, score = self._popular(user.history, hidden[row])
                positions.append(position)
                scores.append(score)
                fallbacks.append(fallback)
                counts.fallbacks[fallback] = counts.fallbacks.get(fallback, 0) + 1
        lengths = np.asarray([len(p) for p in positions])
        counts.short += int((lengths < self._k).sum())
        return self._columns(users, positions, scores, fallbacks, lengths)

    def _columns(
        self,
        users: list[BulkUser],
        positions: list[Ints],
        scores: list[npt.NDArray[np.float32]],
        fallbacks: list[str | None],
        lengths: Ints,
    ) -> pa.Table:
        flat = np.concatenate(positions)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        catalogue = self._recommender.catalogue
        lists: list[Any] = [
            catalogue.id_array(flat),
            pa.array(catalogue.item_index_N[flat]),
            pa.array(np.concatenate(scores)),
        ]
        columns = [
            pa.array([user.user_id for user in users], self._schema.field("user_id").type),
            *(pa.ListArray.from_arrays(offsets, values) for values in lists),
            pa.array(fallbacks, pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _popular(
        self, history: EncodedHistory | None, hidden: Ints
    ) -> tuple[str, Ints, npt.NDArray[np.float32]]:
        popular = self._recommender.popular
        segment = None if history is None else history.segment
        segment = segment if segment in popular.segments else None
        position, count = popular.top(segment, self._k, self._allowed_N, hidden)
        fallback = POPULAR if segment is None else POPULAR_IN_SEGMENT
        return fallback, position, count.astype(np.float32)

    def _hidden(self, history: EncodedHistory | None) -> Ints:
        if not self._filters.filter_seen or history is None:
            return self._denied
        seen = self._recommender.catalogue.positions_of_index(np.unique(history.item_T))
        return np.union1d(self._denied, seen)
