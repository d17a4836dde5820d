"""Read the keys of a feature table."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import cell_text
from heterrec_pipeline.files.rejects import RejectedCell
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.digests import digest_of, digested
from heterrec_pipeline.reading.erased import read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import ROW, located
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.rejects import VALUE_CHARACTERS, Reason
from heterrec_schemas.values import Seen

SEEN = "seen"
UNUSABLE = "unusable"
KEY = "__key"
"""Column of the keys as text."""
_KEYS = pa.schema([("key", pa.large_string()), ("split", pa.int64()), ("row", pa.int64())])


def unusable_rows(batch: ReadBatch, key: str, text: pl.Series) -> list[RejectedCell]:
    """The rejects of the rows of a batch that are malformed, end early, or have no readable key; one entry per row.

    Args:
        batch: n rows.
        key: the key column.
        text: [n] the keys as text.
    """
    bad: list[RejectedCell] = [
        (b.row, b.column, b.reason, b.text) for b in (*batch.bad, *batch.short)
    ]
    short = {b.row for b in batch.short}
    bad_text = batch.bad_text.get(key, {})
    for k in text.is_null().arg_true().to_list():
        row = int(batch.rows[k])
        if row in bad_text:
            bad.append((row, key, Reason.NOT_UTF8, bad_text[row]))
        elif row not in short:
            bad.append((row, key, Reason.MISSING_KEY, cell_text(batch.table[key][k].as_py())))
    return bad


class KeyedBatch(NamedTuple):
    """A batch of a feature table, and what was found in its keys.

    Attributes:
        rows: the rows with a key: located, with the wanted raw columns and KEY (text).
        read: number of rows, those that are malformed, erased or filtered included.
        erased: number of rows that were removed because the spec erases their key.
        filtered: number of rows that the spec leaves out.
        unusable: number of rows without a key, and of malformed ones.
        bad: the rejects of the latter, and of the rows that end early.
        seen: the kinds of the keys.
    """

    rows: pa.RecordBatch
    read: int
    erased: int
    filtered: int
    unusable: int
    bad: list[RejectedCell]
    seen: Seen


def keyed_batches(table: TableJob, split: Split, columns: Sequence[str]) -> Iterator[KeyedBatch]:
    """Parse the keys of a split, whose erased rows are left out.

    Args:
        table: the feature table.
        split: a piece of it.
        columns: the raw columns wanted.
    """
    for batch in prefetched(read_live(split, [table.key, *columns], table.gate)):
        rows = located(batch, split)
        text, seen = table.key_text(rows[table.key], split.file.name)
        bad = table.rejects.told(unusable_rows(batch, table.key, text))
        rows = rows.append_column(KEY, text.to_arrow().cast(pa.large_string()))
        without = text.null_count()
        if without:
            rows = rows.filter(text.is_not_null().to_arrow())
        unusable = len(batch.bad) + without
        yield KeyedBatch(rows, batch.read, batch.erased, batch.filtered, unusable, bad, seen)


def shortened(bad: list[RejectedCell]) -> list[tuple[int, str, str, str | None]]:
    """Rejects as a digest keeps them: with texts of the length that `rejects/` has."""
    return [(row, c, str(why), text and text[:VALUE_CHARACTERS]) for row, c, why, text in bad]


def rejected(cells: list[Any]) -> list[RejectedCell]:
    """The rejects of a digest."""
    return [(row, column, Reason(reason), text) for row, column, reason, text in cells]


def about_keys(batch: KeyedBatch) -> dict[str, Any]:
    """The reports on the keys of a batch, as a digest keeps them."""
    return {
        "read": batch.read,
        "filtered": batch.filtered,
        "unusable": batch.unusable,
        "bad": shortened(batch.bad),
        "seen": int(batch.seen),
    }


def read_keys(table: TableJob, split: Split, *, from_log: bool = False) -> Iterator[Any]:
    """Read the keys of a split without the erased ones, and reject rows without one.

    Args:
        table: the feature table.
        split: a piece of it.
        from_log: whether the rows are made from the log, where the kinds of keys were recorded already.

    Yields:
        Tables of key (text), split and row (int64). Tagged `SEEN`: (table, kinds of keys). Tagged `UNUSABLE`: an example
        of a rejected row, per batch without a key.
    """
    path = digest_of(split, table.reading)
    if path is not None:
        for rows, about in digested(path):
            batch = KeyedBatch(
                rows,
                about["read"],
                0,
                about.get("filtered", 0),
                about["unusable"],
                rejected(about["bad"]),
                Seen(about["seen"]),
            )
            yield from _keys(table, split, batch, from_log=from_log)
        return
    for batch in keyed_batches(table, split, []):
        yield from _keys(table, split, batch, from_log=from_log)


def _keys(table: TableJob, split: Split, batch: KeyedBatch, *, from_log: bool) -> Iterator[Any]:
    name, bad = table.name, batch.bad
    yield from report_rejects(name, split.file.name, bad)
    yield report_count(f"{name}.rows", batch.read)
    if table.gate.keys:
        yield report_count(f"{name}.erased", batch.erased)
    if batch.filtered:
        yield report_count(f"{name}.filtered", batch.filtered)
    yield report_count(f"{name}.unusable", batch.unusable)
    if not from_log:
        yield TaggedOutput(SEEN, (name, int(batch.seen)))
    if len(batch.rows):
        number = pa.array(np.full(len(batch.rows), split.number, np.int64))
        yield pa.table(
            [batch.rows[KEY], number, batch.rows[ROW]],
            schema=_KEYS,
        )
    elif bad:
        row, _, reason, value = bad[0]
        told = f", {cell_text(value)!r}" if table.rejects.values != "none" else ""
        yield TaggedOutput(UNUSABLE, f"{split.file.name} row {row}: {reason}{told}")
