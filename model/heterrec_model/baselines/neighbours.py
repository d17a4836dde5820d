"""The neighbours of a user's last item: what stood close to it in training sequences.

Shapes: B users, N items of the catalogue, C of them in a chunk, I ids of the item vocabulary, P pairs of items, E pairs of
a user and a neighbour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.lists import whole
from heterrec_model.data.refit import validation_rows
from heterrec_model.data.shards import RowGroupReader, row_group_spans
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_schemas.generation import Generation

WINDOW = 5
"""Items at most so many places apart in a sequence are neighbours."""
_MERGE_AT = 4_000_000
"""Counts that are gathered before equal pairs are merged."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """How often items stood together, an item's neighbours after another's.

    Attributes:
        first_I: where an item's neighbours begin in the others; one more entry than items.
        item_P: the neighbour's item_index.
        count_P: how many pairs of places, within a window of each other in a training row, the two stood at.
    """

    first_I: Tensor
    item_P: Tensor
    count_P: Tensor


class Neighbours:
    """Scores an item by how often it stood near the user's last one; equal ones by their popularity.

    An item is no neighbour of itself: right after an interaction another item is asked for. Items that never stood near
    the last one follow in the order of popularity.
    """

    def __init__(self, table: TokenTable, neighbourhood: Neighbourhood) -> None:
        self.table = table
        self._neighbourhood = neighbourhood
        self._place_P = CataloguePositions(table.catalogue_N).of(neighbourhood.item_P)
        self._popularity_N = table.train_count_I[table.catalogue_N].double()
        # Whole numbers in float64: a count more outweighs any popularity.
        self._weight = float(self._popularity_N.max()) + 1 if len(self._popularity_N) else 1.0

    @classmethod
    def count(cls, generation: Generation, *, window: int = WINDOW, refit: bool = False) -> Self:
        """Count neighbours in the training sequences; memory grows with the pairs of items that occur.

        Args:
            generation: whose `train` sequences are read, a row group at a time.
            window: items at most so many places apart are neighbours.
            refit: count the validation split's interactions too.
        """
        table = open_token_table(generation, features=(), user_features=(), refit=refit)
        ids = len(table.train_count_I)
        return cls(table, count_neighbours(generation, ids, window, refit=refit))

    def encode(self, batch: Batch) -> Tensor:
        """The last item of every history, [B, 1]."""
        return batch.item_BT.gather(1, batch.length_B[:, None] - 1)

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """Counts with the last item, then popularity, [B, C] float64."""
        scores_BC = self._popularity_N[start:stop].repeat(len(users_BS), 1)
        user_E, pair_E = self._pairs(users_BS[:, 0])
        place_E = self._place_P[pair_E]
        inside_E = (place_E >= start) & (place_E < stop) & (place_E != NO_ROW)
        user_E, pair_E = user_E[inside_E], pair_E[inside_E]
        counts_E = self._neighbourhood.count_P[pair_E].double()
        scores_BC[user_E, place_E[inside_E] - start] += self._weight * counts_E
        return scores_BC

    def _pairs(self, item_B: Tensor) -> tuple[Tensor, Tensor]:
        """The users' rows and the places in the neighbourhood of all neighbours of their last items."""
        first_B = self._neighbourhood.first_I[item_B]
        count_B = self._neighbourhood.first_I[item_B + 1] - first_B
        user_E = torch.repeat_interleave(torch.arange(len(item_B)), count_B)
        before_B = count_B.cumsum(0) - count_B
        return user_E, torch.arange(len(user_E)) + (first_B - before_B)[user_E]


def count_neighbours(
    generation: Generation, ids: int, window: int, *, refit: bool = False
) -> Neighbourhood:
    """Count, for every two items, the pairs of places within a window in which they stand in a training row.

    Args:
        generation: where the sequences come from.
        ids: I.
        window: how many places apart, at most.
        refit: take the validation rows in, their targets joined; pairs that stand in the training row count once.
    """
    counted = _merge([])
    parts: list[pl.DataFrame] = []
    waiting = 0
    for histories, firsts_R in _row_groups(generation, refit):
        parts.append(_count(_pair_keys(histories, firsts_R, ids, window)))
        waiting += len(parts[-1])
        # At least as many as are counted already: merging stays linear in what is read.
        if waiting > max(_MERGE_AT, len(counted)):
            counted, parts, waiting = _merge([counted, *parts]), [], 0
    return _both_ways(_merge([counted, *parts]), ids)


def _row_groups(generation: Generation, refit: bool) -> Iterator[tuple[pa.ListArray, Ints]]:
    """The histories to count, a row group at a time, with the place in each of the first item that is new."""
    reader = RowGroupReader(generation, ["item_index"])
    for span in row_group_spans(generation, "train"):
        histories = whole(reader.read(span)["item_index"])
        yield histories, np.zeros(len(histories), np.int64)
    if refit:
        for table, firsts_R in validation_rows(generation):
            yield whole(table["item_index"]), firsts_R


def _pair_keys(histories: pa.ListArray, firsts_R: Ints, ids: int, window: int) -> Ints:
    """Smaller item * I + larger item, for every pair of places at most `window` apart in a row whose later one is new."""
    item_T = histories.flatten().to_numpy()
    lengths = histories.value_lengths().to_numpy()
    row_T = np.repeat(np.arange(len(lengths)), lengths)
    place_T = np.arange(len(row_T)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    new_T = place_T >= firsts_R[row_T]
    keys = [np.zeros(0, np.int64)]
    for apart in range(1, min(window, int(lengths.max(initial=0)) - 1) + 1):
        one, other = item_T[:-apart], item_T[apart:]
        chosen = (row_T[:-apart] == row_T[apart:]) & (one != other) & new_T[apart:]
        one, other = one[chosen], other[chosen]
        keys.append(np.minimum(one, other) * ids + np.maximum(one, other))
    return np.concatenate(keys)


def _count(keys: Ints) -> pl.DataFrame:
    return pl.DataFrame({"key": keys}).group_by("key").agg(count=pl.len().cast(pl.Int64))


def _merge(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Counts of several parts as one, a row a key."""
    empty = pl.DataFrame(schema={"key": pl.Int64, "count": pl.Int64})
    return pl.concat([empty, *parts]).group_by("key").agg(pl.col("count").sum())


def _both_ways(counted: pl.DataFrame, ids: int) -> Neighbourhood:
    """Every pair as a neighbour of both of its items, sorted by item, then by neighbour."""
    one = (pl.col("key") // ids).alias("item"), (pl.col("key") % ids).alias("neighbour")
    other = one[0].alias("neighbour"), one[1].alias("item")
    both = pl.concat([counted.select(*one, "count"), counted.select(other[1], other[0], "count")])
    both = both.sort("item", "neighbour")
    items = np.bincount(both["item"].to_numpy(), minlength=ids)
    return Neighbourhood(
        torch.from_numpy(np.concatenate([[0], items.cumsum()])),
        torch.from_numpy(both["neighbour"].to_numpy().copy()),
        torch.from_numpy(both["count"].to_numpy().copy()),
    )
