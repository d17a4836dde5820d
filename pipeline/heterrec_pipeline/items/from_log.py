"""Items of a denormalised log: one row per item, aggregated from the interactions."""

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.read import log_columns, orders
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
from heterrec_pipeline.keys.read import SEEN, key_text
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells, file_of, one_chunk
from heterrec_pipeline.wiring.cut import range_numbers
from heterrec_pipeline.wiring.reports import report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.values import column_text


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
    item, seen = key_text(one_chunk(rows, log.item), log.item, file_of(rows))
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
    return replace(table, key=ITEM, features=features, erased=None)


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


def to_items(job: Job, rows: pa.Table) -> Iterator[Any]:
    """Located tables of the log to the columns that decide the items."""
    table = job.items
    kept, seen = readable_rows(job.spec, table, rows)
    yield TaggedOutput(SEEN, (ITEMS, seen))
    numbers, bad = kept[ROW].to_numpy(), []
    for feature in table.features:
        kinds, cells = kind_of(feature).check(feature, one_chunk(kept, feature.column))
        if kinds:
            yield TaggedOutput(SEEN, (f"item/{feature.name}", int(kinds)))
        bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in cells]
    # The log itself rejects the rows with a bad text in its own columns.
    own = log_columns(job.spec)
    bad += bad_text_cells(kept, [f.column for f in table.features if f.column not in own])
    yield from report_rejects(INTERACTIONS, file_of(rows), bad)
    if len(kept):
        yield item_rows(table, kept).replace_schema_metadata(None)


def reduce_to_buckets(
    table: TableJob, buckets: int, tables: list[pa.Table]
) -> Iterator[tuple[int, pa.Table]]:
    """Reduce tables of `to_items`, and cut them by the hash of the item: (bucket, rows)."""
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
