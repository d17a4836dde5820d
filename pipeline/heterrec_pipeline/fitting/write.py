"""Write fitted boundaries and quantizers."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from heterrec_pipeline.features.fitted import Fitted, fit_details
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files.parts import store
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.wiring.reports import report_file
from heterrec_schemas.tables import with_metadata


def write_fit(job: Job, tables: Sequence[TableJob], element: tuple[str, pa.Table]) -> Iterator[Any]:
    """Write a fitted table, and store it for the workers: (feature, `Fitted`)."""
    name, fitted = element
    table, feature = next((t, f) for t in tables for f in t.features if f.name == name)
    stem, details = fit_details(table, feature, len(fitted))
    folder = kind_of(feature).FOLDER
    schema = with_metadata(fitted.schema, folder, feature=stem, **details)
    rows = fitted.replace_schema_metadata(schema.metadata)
    yield report_file(write_shard(job.root, f"{folder}/{stem}.parquet", rows, plain=("edge",)))
    yield name, Fitted(store(job.parts, f"fitted-{name}", fitted), len(fitted))
