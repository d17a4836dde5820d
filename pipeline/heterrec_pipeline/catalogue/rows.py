"""The rows that count: batches of a feature table without losers, keyless rows and rows the catalogue lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from heterrec_pipeline.catalogue.keys import key_text, losers_in
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.lookup import Lookup
from heterrec_pipeline.publishing.parts import Stored, once_a_process, opened, row_count
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import (
    FILE,
    ROW,
    located,
    one_chunk,
    prefetched,
    read_split,
    without_rows,
)

KEY = "__key"
ID = "__id"


@dataclass(frozen=True)
class Known:
    """The kept keys of a side, and the rows that lost: tables, or references to them."""

    index: pa.Table | Stored
    losers: pa.Table | Stored

    @property
    def population(self) -> int:
        """How many keys are kept."""
        return row_count(self.index)

    @cached_property
    def ids(self) -> Lookup:
        """The id of each key."""
        return _stored_ids(self.index) if isinstance(self.index, Stored) else key_ids(self.index)

    def lost(self, file: str) -> pl.Series:
        """The row numbers of one file that are left out."""
        return losers_in(opened(self.losers), file)


def key_ids(index: pa.Table) -> Lookup:
    """An index as a lookup of ids by key."""
    return Lookup(pl.Series(index["key"]), pl.Series(index["id"]))


@once_a_process
def _stored_ids(index: Stored) -> Lookup:
    return key_ids(opened(index))


def kept_rows(
    table: TableJob, split: Split, columns: Sequence[str], known: Known
) -> Iterator[pa.Table]:
    """The kept rows of a split.

    Args:
        table: the feature table.
        split: a piece of it.
        columns: the raw columns wanted.
        known: which keys and rows count.

    Yields:
        Located tables of the wanted columns plus KEY (text) and ID (int64).
    """
    lost = known.lost(split.file.name)
    for batch in prefetched(read_split(split, [table.key, *columns])):
        whole = located(batch, split)
        text, _ = key_text(one_chunk(whole, table.key), table.key, split.file.name)
        ids = known.ids.find(text)
        whole = whole.append_column(KEY, text.to_arrow()).append_column(ID, ids.to_arrow())
        unknown = ids.is_null()
        if unknown.any():
            whole = whole.filter((~unknown).to_arrow())
        whole = without_rows(whole, lost)
        if len(whole):
            yield whole


__all__ = ["FILE", "ID", "KEY", "ROW", "Known", "kept_rows"]
