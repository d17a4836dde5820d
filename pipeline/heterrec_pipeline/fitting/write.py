"""Write fitted boundaries and quantizers."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.features.fitted import Fitted, fit_details
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import store
from heterrec_pipeline.files.shards import write_copy, write_shard
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.wiring.reports import report_file
from heterrec_schemas.feature_spec import Feature
from heterrec_schemas.tables import with_metadata


def write_fit(job: Job, tables: Sequence[TableJob], element: tuple[str, pa.Table]) -> Iterator[Any]:
    """Write a fitted table, and store it for the workers: (feature, `Fitted`)."""
    name, fitted = element
    table, feature = next((t, f) for t in tables for f in t.features if f.name == name)
    stem, details = fit_details(table, feature, len(fitted))
    folder = kind_of(feature).FOLDER
    schema = with_metadata(fitted.schema, folder, feature=stem, **details)
    rows = fitted.replace_schema_metadata(schema.metadata)
    yield report_file(
        write_shard(job.root, f"{folder}/{stem}.parquet", rows, plain=("edge", "centroid"))
    )
    yield name, Fitted(store(job.parts, f"fitted-{name}", fitted), len(fitted))


def copy_fit(job: Job, side: str, feature: Feature) -> Iterator[Any]:
    """Copy the parent's table of a feature, and store it for the workers: (feature, `Fitted`)."""
    assert job.parent is not None
    stem = feature.name if side == "item" else f"user_{feature.name}"
    path = f"{kind_of(feature).FOLDER}/{stem}.parquet"
    content = storage.read_bytes(job.parent.path(path))
    fitted = pq.read_table(pa.BufferReader(content)).replace_schema_metadata(None)
    yield report_file(write_copy(job.root, path, content, len(fitted)))
    yield feature.name, Fitted(store(job.parts, f"fitted-{stem}", fitted), len(fitted))
