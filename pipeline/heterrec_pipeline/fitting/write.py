"""Write fitted features: vocabularies, boundaries, quantizers."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from heterrec_pipeline.features.fitted import Fitted, fit_details, fitted_size
from heterrec_pipeline.files.parts import store
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.vocabularies.write import write_vocabulary
from heterrec_pipeline.wiring.reports import report_file
from heterrec_schemas.feature_spec import CategoricalFeature, NumericFeature
from heterrec_schemas.tables import with_metadata
from heterrec_schemas.tokens import vocabulary_shards
from heterrec_schemas.values import Seen


def store_fit(
    job: Job, table: TableJob, element: tuple[str, pa.Table]
) -> Iterator[tuple[str, Fitted]]:
    """(feature, table) to (feature, `Fitted`)."""
    name, fitted = element
    feature = next(f for f in table.features if f.name == name)
    stored = store(job.parts, f"fitted-{name}", fitted)
    yield name, Fitted(stored, fitted_size(feature, fitted))


def write_fit(
    job: Job, table: TableJob, element: tuple[str, pa.Table], seen: dict[str, int]
) -> Iterator[Any]:
    """Fitted features to their vocabularies, boundaries or quantizers."""
    name, fitted = element
    side = table.side
    feature = next(f for f in table.features if f.name == name)
    stem, details = fit_details(table, feature, fitted_size(feature, fitted))
    if isinstance(feature, CategoricalFeature):
        for file in write_vocabulary(
            job.root,
            stem,
            fitted,
            integral=Seen(seen.get(f"{side}/{name}", 0)).integral,
            shards=vocabulary_shards(len(fitted), feature.shards),
            oov_buckets=feature.oov_buckets,
            **details,
        ):
            yield report_file(file)
        return
    folder = "boundaries" if isinstance(feature, NumericFeature) else "quantizers"
    schema = with_metadata(fitted.schema, folder, feature=stem, **details)
    rows = fitted.replace_schema_metadata(schema.metadata)
    yield report_file(write_shard(job.root, f"{folder}/{stem}.parquet", rows, plain=("edge",)))
