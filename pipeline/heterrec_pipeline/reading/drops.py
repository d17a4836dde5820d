"""Rows of the log that the spec drops: those without a user, or with a behaviour that it does not list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_pipeline.reading.batches import ReadBatch, one_chunk
from heterrec_schemas.value_columns import column_text, without_missing


@dataclass(frozen=True)
class Drop:
    """A rule that drops rows by the text of a column.

    Attributes:
        column: the column.
        missing_values: further texts that mean a missing value.
        listed: the texts of the rows that stay; None if every text may stay.
    """

    column: str
    missing_values: tuple[str, ...] = ()
    listed: tuple[str, ...] | None = None

    def rows(self, batch: ReadBatch) -> npt.NDArray[np.bool_]:
        """Whether each row of a batch is dropped; not if its cell is unreadable: that row is rejected."""
        text, _ = column_text(one_chunk(batch.table, self.column), self.column)
        text = without_missing(text, self.missing_values)
        gone = text.is_null() if self.listed is None else ~text.is_in(self.listed).fill_null(False)
        found: npt.NDArray[np.bool_] = gone.to_numpy()
        if bad := batch.bad_text.get(self.column):
            found = found & ~np.isin(batch.rows, list(bad))
        return found


def without_dropped(batch: ReadBatch, drops: Sequence[Drop]) -> ReadBatch:
    """A batch without the rows that some rules drop, which count as filtered.

    A row with too few fields is never dropped, since the field that decides may be one of those that it lacks.
    """
    if not drops or not len(batch.rows):
        return batch
    gone = np.zeros(len(batch.rows), np.bool_)
    for drop in drops:
        gone |= drop.rows(batch)
    if batch.short:
        gone &= ~np.isin(batch.rows, [b.row for b in batch.short])
    count = int(gone.sum())
    if not count:
        return batch
    rows = set(batch.rows[gone].tolist()) if batch.bad_text else set()
    return batch._replace(
        table=batch.table.filter(pa.array(~gone)),
        rows=batch.rows[~gone],
        bad_text={
            column: {row: text for row, text in cells.items() if row not in rows}
            for column, cells in batch.bad_text.items()
        },
        filtered=batch.filtered + count,
    )
