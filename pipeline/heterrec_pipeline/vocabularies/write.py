"""Write vocabularies."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.fitted import fit_details
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import ITEMS, Job
from heterrec_pipeline.wiring.reports import report_file
from heterrec_schemas.tables import shard_name, vocabulary_schema
from heterrec_schemas.tokens import vocabulary_shards
from heterrec_schemas.values import Seen


def vocabulary_rows(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Columns id, value (text) and count as rows of a vocabulary."""
    value = rows["value"]
    whole = schema.field("value").type == pa.int64()
    columns = [
        rows["id"].to_arrow(),
        (value.cast(pl.Int64) if whole else value).to_arrow().cast(schema.field("value").type),
        rows["count"].to_arrow(),
        pa.array(["active"] * len(rows), pa.string()),
    ]
    return pa.table(columns, schema=schema)


def write_vocabulary(
    root: str, name: str, vocabulary: pa.Table, *, integral: bool, **details: Any
) -> Iterator[Any]:
    """Write the shards of a vocabulary (id, value, count, shard); V is what its shard column says."""
    frame = pl.DataFrame(pl.from_arrow(vocabulary))
    shards = int(details.pop("shards"))
    schema = vocabulary_schema(integral, feature=name, vocabulary_shards=shards, **details)
    for shard in range(shards):
        table = vocabulary_rows(frame.filter(pl.col("shard") == shard), schema)
        path = f"vocabularies/{shard_name(name, shard, shards)}"
        yield write_shard(root, path, table, plain=("id", "value"))


def write_item_vocabulary(
    job: Job, index: pa.Table | TableRef, seen: dict[str, int]
) -> Iterator[Any]:
    """The index of the items to the shards of the item vocabulary."""
    declared = job.spec.items.catalogue_vocabulary
    values = pl.DataFrame(pl.from_arrow(load(index))).select(
        "id", pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count"), "shard"
    )
    stem, details = fit_details(job.items, None, len(values))
    for file in write_vocabulary(
        job.root,
        stem,
        values.to_arrow(),
        integral=Seen(seen.get(ITEMS, 0)).integral,
        shards=vocabulary_shards(len(values), declared.shards),
        oov_buckets=declared.oov_buckets,
        **details,
    ):
        yield report_file(file)
