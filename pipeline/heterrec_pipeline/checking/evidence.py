"""The cells of a sample that warnings are made from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from heterrec_pipeline.reading.batches import one_chunk

NULL_WORDS = ("nan", "null", "none", "\\n", "n/a", "<na>", "nil")
"""Texts, in lower case, that other programs write for a missing value."""


@dataclass
class Evidence:
    """Cells of the first rows of a table.

    Attributes:
        most: number of rows to keep.
        rows: number of rows kept.
        texts: parsed columns: `key` of a feature table; `user`, `item` and `time` (int64) of the readable rows of the log.
        cells: raw columns.
    """

    most: int
    rows: int = 0
    texts: dict[str, list[pl.Series]] = field(default_factory=dict)
    cells: dict[str, list[pa.Array]] = field(default_factory=dict)

    def add(
        self, rows: pa.RecordBatch | pa.Table, columns: Iterable[str], **parsed: pl.Series
    ) -> None:
        """Keep raw columns of a batch and parsed ones, until there are enough rows."""
        if self.rows >= self.most:
            return
        self.rows += len(rows)
        for name in dict.fromkeys(columns):
            self.cells.setdefault(name, []).append(one_chunk(rows, name))
        for name, series in parsed.items():
            self.texts.setdefault(name, []).append(series)

    def text(self, name: str) -> pl.Series:
        """A parsed column."""
        return pl.concat(self.texts.get(name) or [pl.Series([], dtype=pl.String)])
