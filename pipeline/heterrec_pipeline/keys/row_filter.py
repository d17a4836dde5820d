"""The kept rows of a feature table: batches without excluded rows, erased ones, and rows without a key."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import keyed_batches
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import without_rows
from heterrec_pipeline.wiring.cut import BucketKey

ExcludedRows = Mapping[BucketKey, TableRef]
"""By table and split, the numbers of rows that do not count: another row of their key is kept, or (of a joined table) the
catalogue lacks their key."""


def excluded_rows(table: TableJob, split: Split, excluded: ExcludedRows) -> pl.Series:
    """The numbers of the rows of a split that do not count."""
    stored = excluded.get((table.name, split.number))
    return pl.Series("row", [], pl.Int64) if stored is None else pl.Series(load(stored)["row"])


def kept_rows(
    table: TableJob, split: Split, columns: Sequence[str], excluded: ExcludedRows
) -> Iterator[pa.RecordBatch]:
    """Parse the kept rows of a split.

    Args:
        table: the feature table.
        split: a piece of it.
        columns: the raw columns wanted.
        excluded: rows that do not count.

    Yields:
        Located batches of the wanted columns plus KEY (text).
    """
    numbers = excluded_rows(table, split, excluded)
    for batch in keyed_batches(table, split, columns):
        rows = without_rows(batch.rows, numbers)
        if rows.num_rows:
            yield rows
