"""Collect partial fits of the features of a table: counts of values, samples of numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from heterrec_pipeline.features.kinds import SampledKind, value_kind
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.parse import value_rows
from heterrec_pipeline.keys.read import KEY, SEEN
from heterrec_pipeline.keys.row_filter import ExcludedRows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.telemetry.recorder import StepInfo
from heterrec_pipeline.wiring.step import step_call, tables_in
from heterrec_schemas.feature_spec import Feature

MERGE_AT = 16
"""Number of partial fits of a feature that are merged into one."""
MERGE_ROWS = 2**19
"""Number of rows of partial fits that are merged earlier; when more than half are left, they leave before the bundle ends."""
COUNTS = "value_counts"
"""Tags partial counts of vocabularies: (vocabulary, table)."""


class CollectValues(beam.DoFn):
    """Splits to partial fits per bundle: (feature, sample), and (vocabulary, counts) tagged `COUNTS`."""

    info: StepInfo | None = None

    def __init__(self, table: TableJob) -> None:
        """Collect for the categorical and numeric features of one table."""
        self.table = table
        self.partial: dict[str, list[pa.Table]] = {}

    def start_bundle(self) -> None:
        """Drop the partial fits of the last bundle."""
        self.partial = {f.name: [] for f in self.table.value_features}

    def process(self, split: Split, population: int, excluded: ExcludedRows) -> Iterator[object]:
        """Collect from one split; yields the kinds of values, and full partial fits."""
        with step_call(self.info, "process", split):
            if not self.table.value_features:
                return
            valued = replace(self.table, features=self.table.value_features)
            for parsed in value_rows(valued, split, excluded):
                keys = pl.Series(parsed.rows[KEY])
                for feature in valued.value_features:
                    values, seen = parsed.rows[feature.name], parsed.kinds.get(feature.name)
                    if seen:
                        yield TaggedOutput(SEEN, (f"{self.table.side}/{feature.name}", seen))
                    part = value_kind(feature).collect(feature, values, keys, population)
                    self.partial[feature.name].append(part)
                    if whole := self._merge(feature):
                        yield self._output(feature, whole)

    def _merge(self, feature: Feature) -> pa.Table | None:
        """Merge the partial fits of a feature when there are many; returns counts that are too many to keep."""
        parts = self.partial[feature.name]
        if len(parts) < MERGE_AT and sum(map(len, parts)) < MERGE_ROWS:
            return None
        kind = value_kind(feature)
        whole = kind.merge(feature, parts)
        full = len(whole) > MERGE_ROWS // 2 and not isinstance(kind, SampledKind)
        self.partial[feature.name] = [] if full else [whole]
        return whole if full else None

    def _output(self, feature: Feature, whole: pa.Table) -> object:
        if isinstance(value_kind(feature), SampledKind):
            return feature.name, whole
        return TaggedOutput(COUNTS, (f"{self.table.side}/{feature.name}", whole))

    def finish_bundle(self) -> Iterator[object]:
        """Yield the partial fits of the bundle."""
        with step_call(self.info, "finish_bundle"):
            for feature in self.table.value_features:
                if parts := self.partial[feature.name]:
                    output = self._output(feature, value_kind(feature).merge(feature, parts))
                    if isinstance(output, TaggedOutput):
                        value = GlobalWindows.windowed_value(output.value)
                        yield TaggedOutput(output.tag, value)
                    else:
                        yield GlobalWindows.windowed_value(output)


def fit_sample(
    table: TableJob, feature: Feature, parts: Iterable[pa.Table]
) -> Iterator[tuple[str, pa.Table]]:
    """All samples of a feature to (feature, fitted table)."""
    kind = value_kind(feature)
    assert isinstance(kind, SampledKind)
    yield feature.name, kind.fit(feature, list(tables_in(parts)), table.name)
