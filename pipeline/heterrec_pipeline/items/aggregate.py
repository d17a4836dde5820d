"""Aggregates the rows of a denormalised log by item: partially, before they are grouped by item, and finally."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.features import numeric
from heterrec_pipeline.items.cell_texts import cell_texts, present_cells
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_schemas.feature_spec import Feature, NumericFeature
from heterrec_schemas.hashing import hash_texts

ITEM, TIME, ORDER = "__item", "__time", "__order"
"""Columns added to the raw ones, which keep their names."""
LAST = 2**63 - 1
"""The rank of a missing order, which sorts last among interactions of one time."""
TIME_BITS = np.uint64(43)
"""Bits of a time in milliseconds: times are before the year 2200."""
TIME_MASK = np.uint64(2**43 - 1)
MAX_PACKED = 2**21
"""Number of items whose numbers fit beside a time into 64 bits."""
Ints = npt.NDArray[np.int64]


def is_averaged(feature: Feature) -> bool:
    """Whether all values of an item count (`mean`, `median`), not only the latest one."""
    return feature.aggregate in ("mean", "median")


def values_column(feature: Feature) -> str:
    """The column of the values of an averaged feature: lists of numbers."""
    return f"__values_{feature.name}"


def item_rows(table: TableJob, rows: pa.Table) -> pa.Table:
    """The columns that decide the items: ITEM, TIME, ORDER, raw ones of `latest` features, values of averaged features.

    Args:
        table: the items, whose features name raw columns.
        rows: rows with ITEM, TIME, ORDER and the raw columns.
    """
    raw = list(dict.fromkeys(f.column for f in table.features if not is_averaged(f)))
    kept = rows.select([ITEM, TIME, ORDER, *raw])
    for feature in table.features:
        if is_averaged(feature):
            assert isinstance(feature, NumericFeature)
            values, _ = numeric.numbers(feature, one_chunk(rows, feature.column))
            present = ~np.isnan(values)
            lists = pa.ListArray.from_arrays(_ends(present), pa.array(values[present]))
            kept = kept.append_column(values_column(feature), lists)
    return kept


@dataclass(frozen=True)
class _Sorted:
    """Rows by item, latest first.

    Attributes:
        rows: n rows with ITEM, TIME and ORDER.
        at: [n] positions of the rows, sorted by item, then descending time and order.
        item: [n] number of the item of each sorted row; items are numbered in the order of their hashes.
        moment: [n] number of its run of equal item, time and order.
    """

    rows: pa.Table
    at: Ints
    item: Ints
    moment: Ints

    @classmethod
    def of(cls, rows: pa.Table) -> "_Sorted":
        """Sort rows."""
        coded = pc.dictionary_encode(one_chunk(rows, ITEM))
        rank = np.argsort(np.argsort(hash_texts(pl.Series(coded.dictionary)).to_numpy()))
        item = rank[coded.indices.to_numpy()]
        time = rows[TIME].to_numpy()
        order = pl.Series(rows[ORDER]).fill_null(LAST).to_numpy()
        if len(rank) < MAX_PACKED and rows[ORDER].null_count == len(rows):
            # Sorting one number is several times faster than sorting by columns.
            packed = (item.astype(np.uint64) << TIME_BITS) | (TIME_MASK - time.astype(np.uint64))
            at = pl.Series(packed).arg_sort().to_numpy().astype(np.int64)
        else:
            at = np.lexsort((~order, ~time, item))
        changed = np.zeros(len(rows), np.bool_)
        for column in (item, time, order):
            changed[1:] |= np.diff(column[at]) != 0
        return cls(rows, at, item[at], np.cumsum(changed))

    @cached_property
    def first(self) -> Ints:
        """Positions in the sorted order of the first row of each item."""
        return _starts(self.item)

    def latest(self, feature: Feature) -> Ints:
        """The row of each item with the feature's latest value, by number of the item; -1 where it has none."""
        column = one_chunk(self.rows, feature.column)
        found = np.flatnonzero(present_cells(feature, column)[self.at])
        start = _starts(self.item[found])
        latest = self.moment[found[start]]
        length = np.diff(np.append(start, len(found)))
        found = found[self.moment[found] == np.repeat(latest, length)]
        if len(found) > len(start):
            found = self._smallest(feature, column, found)
        winner = np.full(len(self.first), -1)
        winner[self.item[found]] = self.at[found]
        return winner

    def _smallest(self, feature: Feature, column: pa.Array, found: Ints) -> Ints:
        """Of rows with the latest value of their items, the ones with the smallest text: one per item."""
        item = self.item[found]
        tied = np.bincount(item)[item] > 1
        several = found[tied]
        texts = cell_texts(feature, column.take(pa.array(self.at[several])))
        frame = pl.DataFrame({"item": self.item[several], "text": texts, "at": several})
        best = frame.sort("item", "text", "at").unique("item", keep="first")["at"].to_numpy()
        return np.append(found[~tied], best)

    def values(self, feature: Feature) -> tuple[pa.Array, Ints]:
        """All values of an averaged feature by item, and how many each item has."""
        lists = one_chunk(self.rows, values_column(feature)).take(pa.array(self.at))
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
        return lists.flatten(), np.add.reduceat(lengths, self.first) if len(lengths) else lengths


def _starts(numbers: Ints) -> Ints:
    """Positions at which runs of equal numbers start."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))


def reduce_rows(table: TableJob, rows: pa.Table) -> pa.Table:
    """The rows of `item_rows` that can decide a value of their item: a few per item, whose first has all averaged values.

    Reducing parts of a table, then their rows together, gives the same items as all rows at once. Rows are
    ordered by the hash of their item.
    """
    by_item = _Sorted.of(rows)
    keep = np.zeros(len(rows), np.bool_)
    keep[by_item.at[by_item.first]] = True
    for feature in table.features:
        if not is_averaged(feature):
            winner = by_item.latest(feature)
            keep[winner[winner >= 0]] = True
    chosen = keep[by_item.at]
    kept = rows.take(pa.array(by_item.at[chosen]))
    for feature in table.features:
        if is_averaged(feature):
            values, counts = by_item.values(feature)
            lengths = np.zeros(len(rows), np.int64)
            lengths[by_item.first] = counts
            lists = pa.ListArray.from_arrays(_ends(lengths[chosen]), values)
            name = values_column(feature)
            kept = kept.set_column(kept.column_names.index(name), name, lists)
    return kept


def _ends(lengths: npt.NDArray[np.integer[Any] | np.bool_]) -> pa.Array:
    """Offsets of lists with these lengths."""
    return pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))


def aggregate(table: TableJob, rows: pa.Table) -> pa.Table:
    """Aggregate the rows of items: the key, and one value per feature by its `aggregate`.

    Args:
        table: the items, whose features name raw columns.
        rows: all rows of some items, as `item_rows` or `reduce_rows` has them.

    Returns:
        Columns: ITEM (text), then one per feature with the name of the feature; rows by ITEM.
    """
    by_item = _Sorted.of(rows)
    keys = pl.Series(one_chunk(rows, ITEM).take(pa.array(by_item.at[by_item.first])))
    order = keys.cast(pl.String).arg_sort().to_numpy()
    columns = {ITEM: keys.gather(order).to_arrow().cast(pa.string())}
    for feature in table.features:
        if is_averaged(feature):
            averaged = _averaged(feature, *by_item.values(feature))
            columns[feature.name] = averaged.gather(order).to_arrow()
        else:
            at = by_item.latest(feature)[order]
            chosen = pa.array(at, mask=at < 0)
            columns[feature.name] = one_chunk(rows, feature.column).take(chosen)
    return pa.table(columns)


def _averaged(feature: Feature, values: pa.Array, counts: Ints) -> pl.Series:
    """`mean` or `median` of each item, null without values; see `_Sorted.values`."""
    item = np.repeat(np.arange(len(counts)), counts)
    numbers = values.to_numpy()
    ascending = numbers[np.lexsort((numbers, item))]
    ends = np.cumsum(counts)
    starts = ends - counts
    if feature.aggregate == "mean":
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        every = ascending.tolist()
        return pl.Series([_mean(every[a:b]) if a < b else None for a, b in spans], dtype=pl.Float64)
    some = counts > 0
    low, high = (starts + (counts - 1) // 2)[some], (starts + counts // 2)[some]
    medians = np.full(len(counts), np.nan)
    medians[some] = (ascending[low] + ascending[high]) / 2
    return pl.Series(medians)


def _mean(ascending: list[float]) -> float:
    """math.fsum over the values / n."""
    try:
        return math.fsum(ascending) / len(ascending)
    except (OverflowError, ValueError):  # infinities of both signs, or a sum beyond float64
        return sum(ascending) / len(ascending)
