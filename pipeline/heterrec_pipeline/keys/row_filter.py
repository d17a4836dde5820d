"""The rows that count: batches of a feature table without losers, keyless rows and rows the catalogue lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load, once_a_process, row_count
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.one_table import losers_in
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import located, one_chunk, read_split, without_rows
from heterrec_pipeline.vocabularies.lookup import Lookup

KEY = "__key"
ID = "__id"


LeftOut = dict[tuple[str, int], TableRef]
"""By table and split, the numbers of the rows that do not count."""


@dataclass(frozen=True)
class KeyIndex:
    """The kept keys of a side, and the rows that lost: tables, or references to them."""

    index: pa.Table | TableRef
    losers: pa.Table | TableRef

    @property
    def population(self) -> int:
        """How many keys are kept."""
        return row_count(self.index)

    @cached_property
    def ids(self) -> Lookup | None:
        """The id of each key."""
        return ids_in(self.index)

    def lost(self, table: TableJob, split: Split) -> pl.Series:
        """The row numbers of a split's file that are left out."""
        return losers_in(load(self.losers), split.file.name)


@dataclass(frozen=True)
class ExcludedRows:
    """What there is to know of a side whose keys no worker holds: how many are kept, and the rows that are left out.

    Rows whose key the catalogue lacks are left out by number here, since nothing else could tell them.
    """

    population: int
    left_out: LeftOut

    @property
    def ids(self) -> None:
        """Nobody has them."""
        return None

    def lost(self, table: TableJob, split: Split) -> pl.Series:
        """The row numbers of a split that are left out."""
        found = self.left_out.get((table.name, split.number))
        if found is None:
            return pl.Series("row", [], dtype=pl.Int64)
        return pl.Series(load(found)["row"])


def key_ids(index: pa.Table) -> Lookup:
    """An index as a lookup of ids by key."""
    return Lookup(pl.Series(index["key"]), pl.Series(index["id"]))


def ids_in(index: pa.Table | TableRef) -> Lookup:
    """An index or a reference to it as a lookup, made once a process of a reference."""
    return _stored_ids(index) if isinstance(index, TableRef) else key_ids(index)


@once_a_process
def _stored_ids(index: TableRef) -> Lookup:
    return key_ids(load(index))


def kept_rows(
    table: TableJob, split: Split, columns: Sequence[str], known: KeyIndex | ExcludedRows
) -> Iterator[pa.Table]:
    """The kept rows of a split.

    Args:
        table: the feature table.
        split: a piece of it.
        columns: the raw columns wanted.
        known: which keys and rows count.

    Yields:
        Located tables of the wanted columns plus KEY (text) and, where the ids are at hand, ID (int64).
    """
    lost = known.lost(table, split)
    for batch in prefetched(read_split(split, [table.key, *columns])):
        whole = located(batch, split)
        text, _ = key_text(one_chunk(whole, table.key), table.key, split.file.name)
        whole = whole.append_column(KEY, text.to_arrow())
        if known.ids is None:
            unknown = text.is_null()
        else:
            ids = known.ids.find(text)
            whole = whole.append_column(ID, ids.to_arrow())
            unknown = ids.is_null()
        if unknown.any():
            whole = whole.filter((~unknown).to_arrow())
        whole = without_rows(whole, lost)
        if len(whole):
            yield whole
