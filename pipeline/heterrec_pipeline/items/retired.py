"""The tokens of retired items: taken over from the parent's items/ and retired/."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load, once_a_process, stored_batches
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.place import PartBuffer
from heterrec_pipeline.items.write import items_shard_schema, write_rows
from heterrec_pipeline.job import RETIRED, Job
from heterrec_pipeline.parent import Parent
from heterrec_schemas.feature_spec import Feature


def kept_features(job: Job, parent: Parent) -> list[Feature]:
    """The features whose tokens in the parent remain valid: those that it has, without refitted ones."""
    names = {n for n in parent.features if n not in job.refit}
    return [f for f in job.spec.items.features if f"item/{f.name}" in names]


def take_retired(
    job: Job, path: str, cuts: ItemCuts, places: Iterable[TableRef]
) -> Iterator[tuple[int, TableRef]]:
    """The rows of retired items in a file of the parent: (shard of retired/, stored rows)."""
    if not cuts.retired:
        return
    assert job.parent is not None
    retired = _retired_items(tuple(sorted(places)))
    columns = ["item_index", "item_id", *(f.name for f in kept_features(job, job.parent))]
    buffer = PartBuffer(job, RETIRED, cuts.retired)
    with storage.open_arrow(job.parent.path(path)) as handle:
        shard = pq.ParquetFile(handle)
        for group in range(shard.metadata.num_row_groups):
            ids = shard.read_row_group(group, columns=["item_index"])["item_index"].to_numpy()
            wanted = np.isin(ids, retired, assume_unique=True)
            if wanted.any():
                rows = shard.read_row_group(group, columns=columns)
                yield from buffer.add(rows.filter(pa.array(wanted)).replace_schema_metadata(None))
    yield from buffer.flush()


@once_a_process
def _retired_items(places: tuple[TableRef, ...]) -> npt.NDArray[np.int64]:
    """The retired items whose tokens are kept, ascending."""
    found = [np.zeros(0, np.int64)]
    for ref in places:
        for batch in stored_batches(ref):
            found.append(batch["item_index"].to_numpy()[batch["retired"].to_numpy()])
    return np.sort(np.concatenate(found))


def write_retired_shard(
    job: Job,
    element: tuple[int, Iterable[TableRef | None]],
    cuts: ItemCuts,
    fitted: dict[str, Fitted],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Write all parts of a shard of retired/; nothing if no shard has rows."""
    shard, parts = element
    if not cuts.retired:
        return
    schema = items_shard_schema(job, fitted, seen)
    assert job.parent is not None
    kept = {"item_index", "item_id", *(f.name for f in kept_features(job, job.parent))}
    tables = [load(p) for p in sorted(p for p in parts if p is not None)]
    taken = pa.schema([f for f in schema if f.name in kept])
    rows = pa.concat_tables([_typed(t, taken) for t in tables] or [taken.empty_table()])
    rows = rows.sort_by("item_index")
    features = {f.name: f for f in job.spec.items.features}
    columns = [
        rows[f.name]
        if f.name in kept
        else pa.array([features[f.name].missing_tokens] * len(rows), f.type)
        for f in schema
    ]
    yield from write_rows(job, RETIRED, shard, pa.table(columns, schema=schema))


def _typed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns and types of a schema: integer keys become text where they did in the vocabulary."""
    cells = [
        pl.Series(rows[f.name]).cast(pl.String).to_arrow()
        if f.name == "item_id" and f.type == pa.string()
        else rows[f.name]
        for f in schema
    ]
    return pa.table([c.cast(f.type) for c, f in zip(cells, schema, strict=True)], schema=schema)
