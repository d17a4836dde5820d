"""Items of a denormalised log: one row per item, aggregated from the interactions."""

import json
import math
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import numeric
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.read import log_columns, orders
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.job import INTERACTIONS, ITEMS, Job, TableJob
from heterrec_pipeline.keys.duplicates import canonical_text
from heterrec_pipeline.keys.read import SEEN, key_text
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells, file_of, one_chunk
from heterrec_pipeline.wiring.cut import range_numbers
from heterrec_pipeline.wiring.reports import report_rejects
from heterrec_schemas.feature_spec import Feature, FeatureSpec, NumericFeature
from heterrec_schemas.values import column_text

# Columns added to the raw ones, which keep their names.
ITEM, TIME, ORDER = "__item", "__time", "__order"


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
    """The table of aggregated item rows, whose columns have the names of the features."""
    features = tuple(f.model_copy(update={"column": f.name}) for f in table.features)
    return replace(table, key=ITEM, features=features)


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


def to_items(job: Job, buckets: int, rows: pa.Table) -> Iterator[Any]:
    """Located tables of the log to (item bucket, rows), for the second shuffle of a denormalised log."""
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
    kept = kept.drop_columns([ROW])
    of_row = pl.Series(range_numbers(pl.Series(kept[ITEM]).cast(pl.String), 1, buckets))
    for bucket in of_row.unique().to_list():
        yield bucket, kept.filter((of_row == bucket).to_arrow())


def aggregate(table: TableJob, rows: pa.Table) -> pa.Table:
    """Aggregate the rows of items: the key, and one value per feature by its `aggregate`.

    Args:
        table: the items, whose features name raw columns.
        rows: all rows of some items.

    Returns:
        Columns: ITEM (text), then one per feature with the name of the feature.
    """
    items = pl.DataFrame({ITEM: pl.Series(rows[ITEM]).cast(pl.String)}).unique().sort(ITEM)
    columns = {ITEM: items[ITEM].to_arrow().cast(pa.string())}
    for feature in table.features:
        if feature.aggregate in ("mean", "median"):
            assert isinstance(feature, NumericFeature)
            columns[feature.name] = _averaged(feature, rows, items)
        else:
            columns[feature.name] = _latest(feature, rows, items)
    return pa.table(columns)


def _averaged(feature: NumericFeature, rows: pa.Table, items: pl.DataFrame) -> pa.Array:
    """`mean`: math.fsum over the values / n; `median`: the mean of the middle two."""
    values, _ = numeric.numbers(feature, one_chunk(rows, feature.column))
    frame = pl.DataFrame({ITEM: pl.Series(rows[ITEM]).cast(pl.String), "value": values})
    lists = frame.filter(pl.col("value").is_not_nan()).sort("value").group_by(ITEM).agg("value")
    rule = _mean if feature.aggregate == "mean" else _median
    made = [rule(v) for v in lists["value"].to_list()]
    found = lists.select(ITEM, value=pl.Series(made, dtype=pl.Float64))
    return items.join(found, on=ITEM, how="left", maintain_order="left")["value"].to_arrow()


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(sorted(values)) / len(values)
    except (OverflowError, ValueError):  # infinities of both signs, or a sum beyond float64
        return sum(values) / len(values)


def _median(ordered: list[float]) -> float:
    ordered = sorted(ordered)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return (low + high) / 2


def _latest(feature: Feature, rows: pa.Table, items: pl.DataFrame) -> pa.Array:
    """The non-missing value of the latest time; ties: the largest order, then the smallest text."""
    column = one_chunk(rows, feature.column)
    text = _cell_texts(feature, column)
    frame = pl.DataFrame(
        {
            ITEM: pl.Series(rows[ITEM]).cast(pl.String),
            "time": pl.Series(rows[TIME]),
            # A missing order sorts last among interactions of one time, so it is the largest.
            "order": pl.Series(rows[ORDER]).fill_null(2**63 - 1),
            "text": text,
        }
    ).with_row_index("at")
    best = (
        frame.filter(pl.col("text").is_not_null())
        .sort([ITEM, "time", "order", "text", "at"], descending=[False, True, True, False, False])
        .unique(ITEM, keep="first", maintain_order=True)
    )
    at = items.join(best.select(ITEM, "at"), on=ITEM, how="left", maintain_order="left")["at"]
    return column.take(at.to_arrow())


def _cell_texts(feature: Feature, column: pa.Array) -> pl.Series:
    """The text of each cell, null where missing; of a list, that of `canonical_text`."""
    if _is_shaped(column.type) or pa.types.is_decimal(column.type):
        cells = [canonical_text(feature, c) for c in column.to_pylist()]
        text = pl.Series([None if c in ("", "[]") else c for c in cells], dtype=pl.String)
    else:
        text, _ = column_text(column, feature.column)
    missing = getattr(feature, "missing_values", [])
    if not missing:
        return text
    listed = text.is_in(missing).fill_null(False)
    if isinstance(feature, NumericFeature):
        listed |= pl.Series(numeric.equals_missing(feature, column))
    return text.set(listed, None)


def aggregate_items(
    job: Job, element: tuple[int, dict[str, Iterable[pa.Table | TableRef]]]
) -> Iterator[Any]:
    """All rows of a bucket of items to a Parquet part of item rows: a split like any other."""
    bucket, pieces = element
    rows = concatenated([load(p) for p in pieces["items"]])
    table = aggregate(job.items, rows)
    path = storage.join(job.parts, f"items-from-log-{bucket:05d}-{uuid.uuid4().hex}.parquet")
    with storage.open_write(path) as out:
        pq.write_table(table, pa.PythonFile(out, mode="w"), row_group_size=65_536)
    yield Split(InputFile(path, f"items-from-log-{bucket:05d}", out.size, "parquet"))
