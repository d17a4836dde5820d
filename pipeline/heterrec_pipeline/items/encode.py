"""Encode the rows of a feature table with the fitted features, and send the tokens to where they are written."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.times import AVAILABLE_FROM, optional_times
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.place import PartBuffer
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.keys.row_filter import KEY, ExcludedRows, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.cells import OWNER, LargeCells
from heterrec_pipeline.vocabularies.lookup import lookups
from heterrec_pipeline.wiring.cut import BucketKey
from heterrec_pipeline.wiring.reports import RejectedCell, report_count, report_rejects

ID = "__id"
AVAILABLE = "__available_from"
"""Column of a part: time in ms since when an item is listed, null if unknown; if the spec declares it."""
TOKENS = "tokens"
StoredIds = Iterable[tuple[BucketKey, TableRef]]
"""The stored ids of the vocabularies that each worker holds in memory."""


def encoders(table: TableJob, fitted: dict[str, Fitted], ids: dict[str, Lookup]) -> dict[str, Any]:
    """The argument `fitted` of each feature's `encode`: a fitted table, or the lookup of a vocabulary."""
    arguments: dict[str, Any] = {}
    for feature in table.features:
        stored, index = fitted[feature.name].table, ids.get(f"{table.side}/{feature.name}")
        if stored is not None:
            arguments[feature.name] = load(stored)
        else:
            arguments[feature.name] = (index or Lookup.empty()).find
    return arguments


def encode_rows(
    table: TableJob, rows: pa.RecordBatch, fitted: dict[str, Any]
) -> tuple[list[pa.Array], dict[str, int], list[RejectedCell]]:
    """Encode a batch.

    Args:
        table: the table, with the features to encode.
        rows: located rows of it.
        fitted: see `encoders`.

    Returns:
        One token column per feature, the number of rows out of vocabulary per feature, and the bad cells by row number.
    """
    numbers = rows[ROW].to_numpy()
    columns, oov, bad = [], {}, []
    for feature in table.features:
        column = rows[feature.column]
        encoded = kind_of(feature).encode(feature, column, fitted[feature.name])
        columns.append(encoded.tokens)
        oov[feature.name] = encoded.oov_rows
        bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in encoded.bad]
    return columns, oov, bad


def encode_items(
    job: Job,
    table: TableJob,
    split: Split,
    cuts: ItemCuts,
    excluded: ExcludedRows,
    fitted: dict[str, Fitted],
    stored: StoredIds,
    *,
    report: bool,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Encode a split of a catalogue table.

    Args:
        job: the build.
        table: the table.
        split: a piece of it.
        cuts: the borders of item shards.
        excluded: rows that do not count.
        fitted: the fitted features.
        stored: the ids held in memory.
        report: whether bad cells are reported; those of rows made from the log were reported there.
        large: names of the side's features whose values are looked up by bucket.

    Yields:
        (item shard, stored tokens). Where the ids of the items are not in memory, (items, tokens with the items' keys as
        OWNER) tagged `TOKENS` instead. The values of features in `large`, tagged `CELLS`.
    """
    large_cells = LargeCells(table, large)
    rest = large_cells.rest
    ids = lookups(stored)
    tables = encoders(rest, fitted, ids)
    listed = table.available_from
    names = [f.name for f in rest.features] + ([AVAILABLE] if listed else [])
    buffer = PartBuffer(job, table.name, cuts.items)
    for rows in kept_rows(table, split, table.value_columns, excluded):
        tokens, oov, bad = encode_rows(rest, rows, tables)
        bad += bad_text_cells(rows, table.value_columns)
        if listed is not None:
            times, cells = optional_times(rows[listed.column], listed, AVAILABLE_FROM)
            tokens.append(times.to_arrow())
            numbers = rows[ROW].to_numpy()
            bad += [(int(numbers[c.position]), listed.column, c.reason, c.value) for c in cells]
        if report:
            yield from report_rejects(table.name, split.file.name, bad)
        for name, count in oov.items():
            yield report_count(f"item/{name}.oov", count)
        texts = rows[KEY].cast(pa.string())
        if ITEMS not in ids:
            yield from large_cells.tagged(rows, KEY)
            yield TaggedOutput(TOKENS, (ITEMS, pa.table([texts, *tokens], names=[OWNER, *names])))
            continue
        index = ids[ITEMS].find(pl.Series(rows[KEY])).to_arrow()
        yield from large_cells.tagged(rows.append_column(ID, index), ID)
        encoded = pa.table([index, *tokens], names=["item_index", *names])
        if not table.joined:
            encoded = encoded.add_column(1, "item_id", texts)
        yield from buffer.add(encoded)
    yield from buffer.flush()


def encode_users(
    table: TableJob,
    split: Split,
    excluded: ExcludedRows,
    fitted: dict[str, Fitted],
    stored: StoredIds,
    *,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Encode a split of the table of users: tables of user (text) and tokens, and `CELLS`; see `encode_items`."""
    large_cells = LargeCells(table, large)
    rest = large_cells.rest
    tables = encoders(rest, fitted, lookups(stored))
    columns = [f.column for f in table.features]
    for rows in kept_rows(table, split, columns, excluded):
        tokens, oov, bad = encode_rows(rest, rows, tables)
        bad += bad_text_cells(rows, columns)
        yield from large_cells.tagged(rows, KEY)
        yield from report_rejects(table.name, split.file.name, bad)
        for k, (name, count) in enumerate(oov.items()):
            yield report_count(f"user/{name}.oov", count)
            yield report_count(f"user/{name}.missing", missing_rows(tokens[k]))
        names = ["user", *(f"user_{f.name}" for f in rest.features)]
        yield pa.table([rows[KEY].cast(pa.string()), *tokens], names=names)
