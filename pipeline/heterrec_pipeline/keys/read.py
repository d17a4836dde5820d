"""Read the keys of a feature table."""

import math
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import cell_text
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.erased import read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.wiring.reports import RejectedCell, report_count, report_rejects
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import EXACT_FLOAT, Seen, column_text

SEEN = "seen"
UNUSABLE = "unusable"


def key_text(column: pa.Array, name: str, file: str) -> tuple[pl.Series, Seen]:
    """The texts of a key column, and the kinds of its values.

    Raises:
        SchemaMismatchError: the type cannot be a key, or floats have fractions or are too large to be exact.
    """
    text, seen = column_text(column, name)
    if (large := _inexact(column)) is not None:
        raise SchemaMismatchError(
            f"{file}: key column {name!r} holds floats that are too large to be exact",
            got=f"{large:.0f}",
            expected="integers or text, or floats below 2^53",
            todo="Ids that were read as floats have lost their last digits. Write the keys as integers or text.",
        )
    if seen & Seen.FRACTION:
        odd = next(t for t in text.drop_nulls() if "." in t or "e" in t or "n" in t)
        raise SchemaMismatchError(
            f"{file}: key column {name!r} holds floats with fractions",
            got=odd,
            expected="whole numbers or text",
            todo="Write the keys as integers or text.",
        )
    return text, seen


def _inexact(column: pa.Array) -> float | None:
    """The largest whole float beyond the range in which every integer is a float; None if there is none."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    if not pa.types.is_floating(column.type):
        return None
    largest = pc.max(pc.abs(column.cast(pa.float64()))).as_py()
    return largest if largest is not None and EXACT_FLOAT <= largest < math.inf else None


def unusable_rows(batch: ReadBatch, key: str, text: pl.Series) -> list[RejectedCell]:
    """The rejects of the rows of a batch that are malformed, end early, or have no readable key; one entry per row.

    Args:
        batch: n rows.
        key: the key column.
        text: [n] the keys as text.
    """
    bad: list[RejectedCell] = [(b.row, "", b.reason, b.text) for b in (*batch.bad, *batch.short)]
    short = {b.row for b in batch.short}
    bad_text = batch.bad_text.get(key, {})
    for k in text.is_null().arg_true().to_list():
        row = int(batch.rows[k])
        if row in bad_text:
            bad.append((row, key, Reason.NOT_UTF8, bad_text[row]))
        elif row not in short:
            bad.append((row, key, Reason.MISSING_KEY, cell_text(batch.table[key][k].as_py())))
    return bad


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
    name, key, gate = table.name, table.key, table.gate
    for batch in prefetched(read_live(split, [key], gate)):
        text, seen = key_text(batch.table[key], key, split.file.name)
        missing = text.is_null()
        bad = unusable_rows(batch, key, text)
        yield from report_rejects(name, split.file.name, bad)
        yield report_count(f"{name}.rows", len(text) + len(batch.bad) + batch.erased)
        if gate.keys:
            yield report_count(f"{name}.erased", batch.erased)
        yield report_count(f"{name}.unusable", len(batch.bad) + int(missing.sum()))
        if not from_log:
            yield TaggedOutput(SEEN, (name, int(seen)))
        if missing.all():
            if bad:
                row, _, reason, value = bad[0]
                example = f"{split.file.name} row {row}: {reason}, {cell_text(value)!r}"
                yield TaggedOutput(UNUSABLE, example)
            continue
        number = pl.repeat(split.number, len(text), dtype=pl.Int64, eager=True)
        keys = pl.DataFrame({"key": text, "split": number, "row": pl.Series(batch.rows)})
        yield keys.filter(~missing).to_arrow()
