"""The kept rows of a feature table: batches without excluded rows, erased ones, and rows without a key."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.erased import read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import located, without_rows
from heterrec_pipeline.wiring.cut import BucketKey

KEY = "__key"

ExcludedRows = Mapping[BucketKey, TableRef]
"""By table and split, the numbers of rows that do not count: another row of their key is kept, or (of a joined table) the
catalogue lacks their key."""


def kept_rows(
    table: TableJob, split: Split, columns: Sequence[str], excluded: ExcludedRows
) -> Iterator[pa.RecordBatch]:
    """Read the kept rows of a split.

    Args:
        table: the feature table.
        split: a piece of it.
        columns: the raw columns wanted.
        excluded: rows that do not count.

    Yields:
        Located batches of the wanted columns plus KEY (text).
    """
    stored = excluded.get((table.name, split.number))
    numbers = pl.Series("row", [], pl.Int64) if stored is None else pl.Series(load(stored)["row"])
    for batch in prefetched(read_live(split, [table.key, *columns], table.gate)):
        rows = located(batch, split)
        text, _ = key_text(rows[table.key], table.key, split.file.name)
        rows = rows.append_column(KEY, text.to_arrow())
        if text.has_nulls():
            rows = rows.filter(text.is_not_null().to_arrow())
        rows = without_rows(rows, numbers)
        if rows.num_rows:
            yield rows
