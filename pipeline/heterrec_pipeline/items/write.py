"""Write item shards."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.items.cuts import ItemCuts, positions
from heterrec_pipeline.items.encode import AVAILABLE
from heterrec_pipeline.items.place import item_cells
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.vocabularies.cells import large_features
from heterrec_pipeline.vocabularies.count import is_integral
from heterrec_pipeline.vocabularies.numbering_graph import key_rules
from heterrec_pipeline.wiring.reports import report_count, report_file
from heterrec_schemas.feature_spec import Feature
from heterrec_schemas.tables import (
    AVAILABLE_FROM_SCHEMA,
    ITEM_TIMES,
    WIDE_ROW_GROUP,
    items_schema,
    shard_name,
    with_metadata,
)


def write_item_shard(
    job: Job,
    element: tuple[int, Iterable[TableRef | None]],
    cuts: ItemCuts,
    fitted: dict[str, Fitted],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Write all parts of an item shard to its Parquet file."""
    shard, parts = element
    spec = job.spec
    shards = spec.output.item_shards
    schema = items_shard_schema(job, fitted, seen)
    mine = [p for p in parts if p is not None]
    ids = np.arange(cuts.items[shard], cuts.items[shard + 1])
    if job.parent is not None:  # ids with gaps
        found = [load(p)["item_index"].to_numpy() for p in mine if p.table == ITEMS]
        ids = np.sort(np.concatenate([ids[:0], *found]))
    columns = {}
    for large in large_features(job, job.item_tables):
        values = [load(p) for p in sorted(mine) if p.table == f"item/{large.name}"]
        encoded = item_cells(large, values, pl.Series(ids))
        columns[large.name] = encoded.tokens
        yield report_count(f"item/{large.name}.oov", encoded.oov_rows)
    table = assemble_items(job, mine, ids, schema, columns)
    for feature in spec.items.features:
        missing = missing_rows(table[feature.name].combine_chunks()) if len(table) else 0
        yield report_count(f"item/{feature.name}.missing", missing)
    yield from write_rows(job, ITEMS, shard, table)
    if job.items.available_from is not None:
        times = available_from([load(p) for p in mine if p.table == ITEMS])
        path = f"{ITEM_TIMES}/{shard_name('available_from', shard, shards)}"
        yield report_file(write_shard(job.root, path, times, plain=("item_index",)))


def write_rows(job: Job, folder: str, shard: int, rows: pa.Table) -> Iterator[Any]:
    """Write a shard of items/ or retired/; yields its report and the `Written` file."""
    path = f"{folder}/{shard_name('items', shard, job.spec.output.item_shards)}"
    file = write_shard(
        job.root, path, rows, row_group=WIDE_ROW_GROUP, plain=("item_index", "item_id")
    )
    yield report_file(file)
    yield file


def items_shard_schema(job: Job, fitted: dict[str, Fitted], seen: dict[str, int]) -> pa.Schema:
    """The schema of the shards of items/ and retired/."""
    integral = is_integral(key_rules(job, job.items), seen)
    entries = [f.entry("item", fitted[f.name].size) for f in job.spec.items.features]
    return items_schema(job.spec, integral=integral, entries=entries)


def available_from(parts: list[pa.Table]) -> pa.Table:
    """Of each item that has it, the time since when it is listed, ascending by item."""
    schema = with_metadata(AVAILABLE_FROM_SCHEMA, "available_from")
    listed = (p.select(["item_index", AVAILABLE]).filter(p[AVAILABLE].is_valid()) for p in parts)
    tables = [p.rename_columns(schema.names).cast(schema) for p in listed]
    return pa.concat_tables([schema.empty_table(), *tables]).sort_by("item_index")


def assemble_items(
    job: Job,
    parts: list[TableRef],
    ids: npt.NDArray[np.int64],
    schema: pa.Schema,
    done: dict[str, pa.Array],
) -> pa.Table:
    """Rows of the item table: one per item, with the tokens of all tables.

    Args:
        job: the build.
        parts: stored tokens of these items.
        ids: their item_index, ascending.
        schema: schema of the shard.
        done: columns that are complete already.
    """
    columns: dict[str, pa.ChunkedArray] = {"item_index": pa.array(ids), **done}
    for table in job.item_tables:
        mine = [load(p) for p in sorted(parts) if p.table == table.name]
        features = [f for f in table.features if f.name not in done]
        names = [f.name for f in features] + ([] if table.joined else ["item_id"])
        if not mine or not names:
            columns |= {f.name: _all_missing(f, len(ids)) for f in features}
            continue
        rows = pa.concat_tables(mine)
        order = np.full(len(ids), -1, dtype=np.int64)
        order[positions(ids, rows["item_index"].to_numpy())] = np.arange(len(rows))
        absent = np.flatnonzero(order < 0)
        if len(absent):  # items without a row in a joined table
            order[absent] = len(rows)
            rows = pa.concat_tables([rows.select(names), _missing_row(table, names)])
        taken = rows.select(names).take(pa.array(order))
        columns |= {n: taken[n] for n in names}
    if "item_id" not in columns:  # a shard without items
        columns["item_id"] = pa.array([], pa.string())
    cast = [
        pl.Series(columns[f.name]).cast(pl.Int64).to_arrow() if _whole_keys(f) else columns[f.name]
        for f in schema
    ]
    return pa.table([c.cast(f.type) for c, f in zip(cast, schema, strict=True)], schema=schema)


def _whole_keys(field: pa.Field) -> bool:
    return bool(field.name == "item_id" and field.type == pa.int64())


def _all_missing(feature: Feature, rows: int) -> pa.Array:
    return pa.array([feature.missing_tokens] * rows, feature.token_type)


def _missing_row(table: TableJob, names: list[str]) -> pa.Table:
    features = {f.name: f for f in table.features}
    return pa.table({n: _all_missing(features[n], 1) for n in names})
