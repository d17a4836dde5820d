"""Items of a denormalised log: one row per item, aggregated from the interactions."""

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.rejects import RejectedCell
from heterrec_pipeline.interactions.read import log_batches, log_columns, orders
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.items.aggregate import (
    ITEM,
    ORDER,
    TIME,
    aggregate,
    item_rows,
    reduce_rows,
)
from heterrec_pipeline.job import INTERACTIONS, ITEMS, Job, TableJob
from heterrec_pipeline.keys.read import SEEN, rejected, shortened
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.reading.digests import Digested, DigestWriter, digest_of, digested
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells, file_of
from heterrec_pipeline.wiring.cut import FLUSH_BYTES, range_numbers
from heterrec_pipeline.wiring.reports import report_file, report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.value_columns import column_text


def aggregate_columns(spec: FeatureSpec, table: TableJob) -> list[str]:
    """The columns of the log that item rows are made from."""
    log = spec.interactions
    more = [log.order] if log.order else []
    return list(dict.fromkeys([log.item, log.timestamp.column, *more, *table.columns]))


def readable_rows(spec: FeatureSpec, table: TableJob, rows: pa.Table) -> tuple[pa.Table, int]:
    """The rows of a batch with a readable item and time, whether or not the log accepts them.

    Returns:
        Columns ITEM (text), TIME (int64), ORDER (int64, null where missing), ROW and the raw feature columns; the kinds of
        keys.
    """
    log = spec.interactions
    cells = one_chunk(rows, log.item)
    item, seen = table.key_text(cells, file_of(rows))
    time = milliseconds(one_chunk(rows, log.timestamp.column), log.timestamp)
    good = item.is_not_null() & (time >= 0).fill_null(False)
    if log.order is None:
        order = pl.Series([None] * len(item), dtype=pl.Int64)
    else:
        order, _ = orders(one_chunk(rows, log.order), log.order)
    columns = list(dict.fromkeys(f.column for f in table.features))
    kept = rows.select([ROW, *columns])
    for name, series in ((ITEM, item), (TIME, time), (ORDER, order)):
        kept = kept.append_column(name, series.to_arrow())
    return (kept if good.all() else kept.filter(good.to_arrow())), int(seen)


def derived(table: TableJob) -> TableJob:
    """The table of aggregated item rows, whose columns have the names of the features; no erased row is among them."""
    features = tuple(f.model_copy(update={"column": f.name}) for f in table.features)
    return replace(table, key=ITEM, features=features, erased=None, reading=None)


def concatenated(tables: list[pa.Table]) -> pa.Table:
    """Concatenate tables with the same column names; a column of incompatible types becomes text, or JSON."""
    columns = {}
    for name in tables[0].column_names:
        cells = [one_chunk(t, name) for t in tables]
        if any(pa.types.is_binary(c.type) for c in cells):  # Arrow would turn texts into bytes
            cells = [_json_cells(c) for c in cells]
        parts = [pa.table({name: c}) for c in cells]
        try:
            columns[name] = pa.concat_tables(parts, promote_options="permissive")[name]
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            make = _json_cells if any(_is_shaped(c.type) for c in cells) else _text_cells
            columns[name] = pa.chunked_array([make(c) for c in cells])
    return pa.table(columns)


def _is_shaped(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind))


def _text_cells(cells: pa.Array) -> pa.Array:
    return column_text(cells)[0].to_arrow().cast(pa.string())


def _json_cells(cells: pa.Array) -> pa.Array:
    """Cells as JSON, as in the reader of JSON lines for mixed shapes."""
    if pa.types.is_binary(cells.type):
        return cells
    texts = [None if c is None else json.dumps(c).encode() for c in cells.to_pylist()]
    return pa.array(texts, pa.binary())


class ItemRows(NamedTuple):
    """The rows of a batch of the log that decide the items.

    Attributes:
        rows: see `item_rows`; None if no row has a readable item and time.
        kinds: the kinds of keys and values: `items` and `item/<feature>`.
        bad: the bad cells.
        erased: whether a value was left out because the spec erases it.
    """

    rows: pa.Table | None
    kinds: dict[str, int]
    bad: list[RejectedCell]
    erased: bool


def to_items(job: Job, rows: pa.Table) -> ItemRows:
    """A located table of the log to the columns that decide the items."""
    table = job.items
    kept, seen = readable_rows(job.spec, table, rows)
    numbers, kinds, erased = kept[ROW].to_numpy(), {ITEMS: seen}, False
    bad: list[RejectedCell] = []
    for feature in table.features:
        parsed = kind_of(feature).parse(feature, one_chunk(kept, feature.column))
        if parsed.seen:
            kinds[f"item/{feature.name}"] = int(parsed.seen)
        bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in parsed.bad]
        erased |= parsed.erased
    # The log itself rejects the rows with a bad text in its own columns.
    own = log_columns(job.spec)
    bad += bad_text_cells(kept, [f.column for f in table.features if f.column not in own])
    made = item_rows(table, kept).replace_schema_metadata(None) if len(kept) else None
    return ItemRows(made, kinds, bad, erased)


def read_items(job: Job, split: Split) -> Iterator[Any]:
    """A split of the log to the rows that decide the items, reduced. Tagged `SEEN`: kinds of keys and values."""
    table = job.items
    path = digest_of(split, table.reading)
    if path is not None:
        for rows, about in digested(path):
            yield from _reported(split, about)
            if len(rows):
                yield pa.Table.from_batches([rows])
        return
    writer = DigestWriter(job.root, table.reading, split)
    found: list[pa.Table] = []
    kinds: dict[str, int] = {}
    bad: list[RejectedCell] = []
    erased = False
    for batch in log_batches(aggregate_columns(job.spec, table), split, job.log_gate):
        made = to_items(job, batch.rows)
        found += [made.rows] if made.rows is not None else []
        if sum(t.nbytes for t in found) >= FLUSH_BYTES:
            found = [reduce_rows(table, concatenated(found).combine_chunks())]
        for name, seen in made.kinds.items():
            kinds[name] = kinds.get(name, 0) | seen
        bad += made.bad
        erased |= made.erased or bool(batch.erased)
    about = {"seen": kinds, "cells": shortened(job.rejects.told(bad))}
    yield from _reported(split, about)
    reduced = reduce_rows(table, concatenated(found).combine_chunks()) if found else pa.table({})
    pieces = reduced.combine_chunks().to_batches() or [pa.RecordBatch.from_arrays([], names=[])]
    nothing: dict[str, Any] = {"seen": {}, "cells": []}
    masked = bool(job.log_gate) and bool(bad)
    for k, piece in enumerate(pieces):
        writer.add(Digested(piece, about if k == 0 else nothing), erased=erased or masked)
    if len(reduced):
        yield reduced
    yield from (report_file(file) for file in writer.finish())


def _reported(split: Split, about: dict[str, Any]) -> Iterator[Any]:
    yield from (TaggedOutput(SEEN, kinds) for kinds in about["seen"].items())
    yield from report_rejects(INTERACTIONS, split.file.name, rejected(about["cells"]))


def reduce_to_buckets(
    table: TableJob, buckets: int, tables: list[pa.Table]
) -> Iterator[tuple[int, pa.Table]]:
    """Reduce tables of `read_items` together, and cut them by the hash of the item: (bucket, rows)."""
    rows = tables[0]
    if len(tables) > 1:
        rows = reduce_rows(table, concatenated(tables).combine_chunks())
    numbers = range_numbers(pl.Series(rows[ITEM]).cast(pl.String), 1, buckets)
    ends = np.searchsorted(numbers, np.arange(buckets), side="right").tolist()
    for bucket, (start, end) in enumerate(pairwise([0, *ends])):
        if start < end:
            yield bucket, rows.slice(start, end - start)


def aggregate_items(
    job: Job, element: tuple[int, dict[str, Iterable[pa.Table | TableRef]]]
) -> Iterator[Any]:
    """All rows of a bucket of items to a Parquet part of item rows: a split like any other."""
    bucket, pieces = element
    rows = concatenated([load(p) for p in pieces["items"]]).combine_chunks()
    table = aggregate(job.items, rows)
    path = storage.join(job.parts, f"items-from-log-{bucket:05d}-{uuid.uuid4().hex}.parquet")
    with storage.open_write(path) as out:
        pq.write_table(table, pa.PythonFile(out, mode="w"), row_group_size=65_536)
    yield Split(InputFile(path, f"items-from-log-{bucket:05d}", out.size, "parquet"))
