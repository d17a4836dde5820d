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
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature
from heterrec_schemas.reductions import SUFFIX
from heterrec_schemas.tables import with_metadata

_NUMBERS = ("edge", "centroid", "mean", "reach", "weights")
"""Columns of numbers that hardly repeat."""


def write_fit(job: Job, tables: Sequence[TableJob], element: tuple[str, pa.Table]) -> Iterator[Any]:
    """Write a fitted table, and store it for the workers: (feature, `Fitted`)."""
    name, fitted = element
    of, dot, suffix = name.partition(".")
    table, feature = next((t, f) for t in tables for f in t.features if f.name == of)
    stem, details = fit_details(table, feature, len(fitted))
    folder = kind_of(feature).FOLDER
    schema = with_metadata(fitted.schema, folder, feature=stem, **details)
    rows = fitted.replace_schema_metadata(schema.metadata)
    path = f"{folder}/{stem}{dot}{suffix}.parquet"
    yield report_file(write_shard(job.root, path, rows, plain=_NUMBERS))
    yield name, Fitted(store(job.parts, f"fitted-{name}", fitted), len(fitted))


def copy_fit(job: Job, side: str, feature: Feature) -> Iterator[Any]:
    """Copy the parent's tables of a feature, and store them for the workers: (feature, `Fitted`)."""
    assert job.parent is not None
    prefix = "" if side == "item" else "user_"
    names = [feature.name]
    if isinstance(feature, EmbeddingFeature) and feature.reduce is not None:
        names.append(feature.name + SUFFIX)
    for name in names:
        path = f"{kind_of(feature).FOLDER}/{prefix}{name}.parquet"
        content = storage.read_bytes(job.parent.path(path))
        fitted = pq.read_table(pa.BufferReader(content)).replace_schema_metadata(None)
        yield report_file(write_copy(job.root, path, content, len(fitted)))
        yield name, Fitted(store(job.parts, f"fitted-{prefix}{name}", fitted), len(fitted))
