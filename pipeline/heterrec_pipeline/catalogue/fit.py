"""Fit the features of a table: vocabularies by counting, boundaries from a sample, quantizers in blocks of dimensions."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from heterrec_pipeline.catalogue.keys import SEEN
from heterrec_pipeline.catalogue.rows import KEY, Known, kept_rows
from heterrec_pipeline.features import categorical, numeric
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.parts import Stored
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import one_chunk
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.spec import CategoricalFeature, NumericFeature
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.values import Seen

MERGE_AT = 16


class CollectValues(beam.DoFn):
    """Splits to partial fits: (feature, counts of values) and (feature, sample of numbers), one a bundle."""

    def __init__(self, table: TableJob) -> None:
        """Collect for the categorical and numeric features of one table."""
        self.table = table
        self.partial: dict[str, list[pa.Table]] = {}

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self.partial = {f.name: [] for f in self.table.counted}

    @carried
    def process(
        self, split: Split, index: pa.Table | Stored, losers: pa.Table | Stored
    ) -> Iterator[Any]:
        """Collect from one split."""
        if not self.table.counted:
            return
        known = Known(index, losers)
        columns = list(dict.fromkeys(f.column for f in self.table.counted))
        for rows in kept_rows(self.table, split, columns, known):
            METER.enter(f"fitting {self.table.name}")
            for feature in self.table.counted:
                column = one_chunk(rows, feature.column)
                if isinstance(feature, CategoricalFeature):
                    long, seen = categorical.texts(feature, column)
                    yield TaggedOutput(SEEN, (f"{self.table.side}/{feature.name}", int(seen)))
                    part = categorical.count(long)
                else:
                    assert isinstance(feature, NumericFeature)
                    keys = pl.Series(rows[KEY])
                    part = numeric.sample(feature, column, keys, known.population)
                parts = self.partial[feature.name]
                parts.append(part)
                if len(parts) >= MERGE_AT:
                    self.partial[feature.name] = [merge(feature, parts)]

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        """Hand on what the bundle has collected."""
        for feature in self.table.counted:
            parts = self.partial[feature.name]
            if parts:
                value = (feature.name, merge(feature, parts))
                yield GlobalWindows.windowed_value(value)


def merge(feature: CategoricalFeature | NumericFeature | Any, parts: list[pa.Table]) -> pa.Table:
    """Partial fits of one feature made one."""
    if isinstance(feature, CategoricalFeature):
        return categorical.merge_counts(parts)
    return numeric.merge_samples(feature, parts)


class FinishFit(beam.DoFn):
    """All partial fits of a feature to its vocabulary or boundaries."""

    def __init__(self, table: TableJob) -> None:
        """Finish the features of one table."""
        self.table = table

    @carried
    def process(
        self, element: tuple[str, Iterable[pa.Table]], seen: dict[str, int]
    ) -> Iterator[Any]:
        """Finish one feature; parts without columns only say that it exists."""
        name, parts = element
        feature = next(f for f in self.table.counted if f.name == name)
        found = [p for p in parts if p.num_columns]
        whole = merge(feature, found) if found else None
        if isinstance(feature, CategoricalFeature):
            kinds = Seen(seen.get(f"{self.table.side}/{name}", 0))
            counts = whole if whole is not None else pa.table({"value": [], "count": []})
            yield name, categorical.vocabulary(feature, counts, kinds, self.table.name)
        else:
            assert isinstance(feature, NumericFeature)
            edges = numeric.edges(feature, whole, self.table.name)
            yield name, pa.table([pa.array(edges)], schema=BOUNDARIES_SCHEMA)
