"""Neighbours of a user's last item: the items that occur close to it in training sequences.

Shapes: B users, N catalogue items, C items of a catalogue chunk, I ids of the item vocabulary, P pairs of items, E pairs
of a user and a neighbour, R rows, T interactions of all rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from heterrec_model.baselines.counting import CountingBaseline
from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.inputs import ITEM_IDS, LAST_ITEM
from heterrec_model.data.ragged_array import one_array
from heterrec_model.data.refit_rows import validation_rows
from heterrec_model.data.row_spans import RowGroupReader, row_group_spans
from heterrec_schemas.generation import Generation

WINDOW = 5
"""Maximum distance, in interactions of one sequence, between two neighbours."""
_MERGE_AT = 4_000_000
"""Minimum number of counts collected before equal pairs are merged."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NeighbourCounts:
    """Co-occurrence counts of items, grouped by item.

    Attributes:
        first_I: start of each item's neighbours in the other two arrays, [I + 1].
        item_P: the neighbour's item_index.
        count_P: number of times the two items occur within a window of each other.
    """

    first_I: Tensor
    item_P: Tensor
    count_P: Tensor


class Neighbours(CountingBaseline):
    """Scores an item by its co-occurrences with the user's last item; ties are broken by popularity.

    An item is not its own neighbour. Items that never occur near the last item are ordered by popularity. `window` is the
    maximum distance between two neighbours. Memory grows with the number of distinct pairs.
    """

    inputs = frozenset({ITEM_IDS, LAST_ITEM})

    def __init__(
        self,
        generation: Generation,
        *,
        window: int = WINDOW,
        refit: bool = False,
        config: Config | None = None,
    ) -> None:
        super().__init__(generation, refit=refit, config=config)
        ids = len(self.table.train_count_I)
        self._neighbours = count_neighbours(generation, ids, window, refit=refit)
        self._position_P = CataloguePositions(self.table.catalogue_N).of(self._neighbours.item_P)
        # Integers in float64: one more co-occurrence outweighs any popularity.
        self._weight = float(self.popularity_N.max()) + 1 if len(self.popularity_N) else 1.0

    def encode(self, batch: Batch) -> Tensor:
        """The last item of every history, [B, 1]."""
        return batch.item_BT.gather(1, batch.length_B[:, None] - 1)

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """Co-occurrences with the last item, then popularity, [B, C] float64."""
        scores_BC = self.popularity_N[start:stop].repeat(len(users_BS), 1)
        user_E, pair_E = self._pairs(users_BS[:, 0])
        position_E = self._position_P[pair_E]
        inside_E = (position_E >= start) & (position_E < stop) & (position_E != NO_ROW)
        user_E, pair_E = user_E[inside_E], pair_E[inside_E]
        counts_E = self._neighbours.count_P[pair_E].double()
        scores_BC[user_E, position_E[inside_E] - start] += self._weight * counts_E
        return scores_BC

    def _pairs(self, item_B: Tensor) -> tuple[Tensor, Tensor]:
        """All neighbours of some items: the row of the item, and the index of the neighbour's count."""
        first_B = self._neighbours.first_I[item_B]
        count_B = self._neighbours.first_I[item_B + 1] - first_B
        user_E = torch.repeat_interleave(torch.arange(len(item_B)), count_B)
        before_B = count_B.cumsum(0) - count_B
        return user_E, torch.arange(len(user_E)) + (first_B - before_B)[user_E]


def count_neighbours(
    generation: Generation, ids: int, window: int, *, refit: bool = False
) -> NeighbourCounts:
    """Count, for every two of the `ids` items, how often they occur within a window of each other.

    With `refit` the validation rows are read too, joined with their targets; pairs of the training row count once.
    """
    counts = _merge([])
    parts: list[pl.DataFrame] = []
    pending = 0
    for histories, firsts_R in _row_groups(generation, refit):
        parts.append(_count(_pair_keys(histories, firsts_R, ids, window)))
        pending += len(parts[-1])
        # Merging only once as many counts are new as exist keeps the total cost linear.
        if pending > max(_MERGE_AT, len(counts)):
            counts, parts, pending = _merge([counts, *parts]), [], 0
    return _both_directions(_merge([counts, *parts]), ids)


def _row_groups(generation: Generation, refit: bool) -> Iterator[tuple[pa.ListArray, Ints]]:
    """Histories of one row group at a time, with the position of the first new item in each."""
    reader = RowGroupReader(generation, ["item_index"])
    for span in row_group_spans(generation, "train"):
        histories = one_array(reader.read(span)["item_index"])
        yield histories, np.zeros(len(histories), np.int64)
    if refit:
        for table, firsts_R in validation_rows(generation):
            yield one_array(table["item_index"]), firsts_R


def _pair_keys(histories: pa.ListArray, firsts_R: Ints, ids: int, window: int) -> Ints:
    """Smaller item * I + larger item for every pair at most `window` apart in a row whose later item is new."""
    item_T = histories.flatten().to_numpy()
    lengths = histories.value_lengths().to_numpy()
    row_T = np.repeat(np.arange(len(lengths)), lengths)
    position_T = np.arange(len(row_T)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    new_T = position_T >= firsts_R[row_T]
    keys = [np.zeros(0, np.int64)]
    for distance in range(1, min(window, int(lengths.max(initial=0)) - 1) + 1):
        left, right = item_T[:-distance], item_T[distance:]
        chosen = (row_T[:-distance] == row_T[distance:]) & (left != right) & new_T[distance:]
        left, right = left[chosen], right[chosen]
        keys.append(np.minimum(left, right) * ids + np.maximum(left, right))
    return np.concatenate(keys)


def _count(keys: Ints) -> pl.DataFrame:
    return pl.DataFrame({"key": keys}).group_by("key").agg(count=pl.len().cast(pl.Int64))


def _merge(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Sum the counts of several parts: one row per key."""
    empty = pl.DataFrame(schema={"key": pl.Int64, "count": pl.Int64})
    return pl.concat([empty, *parts]).group_by("key").agg(pl.col("count").sum())


def _both_directions(counts: pl.DataFrame, ids: int) -> NeighbourCounts:
    """List every pair under both of its items, sorted by item, then by neighbour."""
    smaller, larger = pl.col("key") // ids, pl.col("key") % ids
    both = pl.concat(
        counts.select(item=item, neighbour=neighbour, count="count")
        for item, neighbour in ((smaller, larger), (larger, smaller))
    ).sort("item", "neighbour")
    per_item = np.bincount(both["item"].to_numpy(), minlength=ids)
    return NeighbourCounts(
        torch.from_numpy(np.concatenate([[0], per_item.cumsum()])),
        torch.from_numpy(both["neighbour"].to_numpy().copy()),
        torch.from_numpy(both["count"].to_numpy().copy()),
    )
