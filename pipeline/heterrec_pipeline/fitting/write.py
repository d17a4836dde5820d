"""Write fitted features: vocabularies, boundaries, quantizers."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from heterrec_pipeline.features.fitted import Fitted, fit_details, fitted_size
from heterrec_pipeline.files.parts import store
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.vocabularies.write import write_vocabulary
from heterrec_pipeline.wiring.carried import carried
from heterrec_pipeline.wiring.reports import written
from heterrec_schemas.feature_spec import CategoricalFeature, NumericFeature
from heterrec_schemas.tables import with_metadata
from heterrec_schemas.tokens import vocabulary_shards
from heterrec_schemas.values import Seen


class StoreFitted(beam.DoFn):
    """(feature, table) to (feature, `Fitted`)."""

    def __init__(self, job: Job, table: TableJob) -> None:
        """Store what one table's features became."""
        self.job, self.table = job, table

    @carried
    def process(self, element: tuple[str, pa.Table]) -> Iterator[tuple[str, Fitted]]:
        """Store one feature."""
        name, fitted = element
        feature = next(f for f in self.table.features if f.name == name)
        stored = store(self.job.parts, f"fitted-{name}", fitted)
        yield name, Fitted(stored, fitted_size(feature, fitted))


class WriteFitted(beam.DoFn):
    """Fitted features to their vocabularies, boundaries or quantizers."""

    def __init__(self, job: Job, table: TableJob) -> None:
        """Write what one table's features became."""
        self.job, self.table = job, table

    @carried
    def process(self, element: tuple[str, pa.Table], seen: dict[str, int]) -> Iterator[Any]:
        """Write one feature."""
        name, fitted = element
        side = self.table.side
        feature = next(f for f in self.table.features if f.name == name)
        stem, details = fit_details(self.table, feature, fitted_size(feature, fitted))
        if isinstance(feature, CategoricalFeature):
            for file in write_vocabulary(
                self.job.root,
                stem,
                fitted,
                integral=Seen(seen.get(f"{side}/{name}", 0)).integral,
                shards=vocabulary_shards(len(fitted), feature.shards),
                oov_buckets=feature.oov_buckets,
                **details,
            ):
                yield written(file)
            return
        folder = "boundaries" if isinstance(feature, NumericFeature) else "quantizers"
        schema = with_metadata(fitted.schema, folder, feature=stem, **details)
        table = fitted.replace_schema_metadata(schema.metadata)
        yield written(
            write_shard(self.job.root, f"{folder}/{stem}.parquet", table, plain=("edge",))
        )
