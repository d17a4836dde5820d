"""Fit the features of a table: vocabularies by counting, boundaries from a sample, quantizers in blocks of dimensions."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from heterrec_pipeline.features import categorical, numeric
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.keys.row_filter import KEY, ExcludedRows, KeyIndex, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import one_chunk
from heterrec_pipeline.telemetry.recorder import StepInfo
from heterrec_pipeline.wiring.step import step_call
from heterrec_schemas.feature_spec import CategoricalFeature, NumericFeature
from heterrec_schemas.tables import BOUNDARIES_SCHEMA
from heterrec_schemas.values import Seen

MERGE_AT = 16
HAND_ON_ROWS = 2**19
"""So many counts of a large vocabulary are merged and handed on."""
LARGE = "large"
"""Tags what concerns large vocabularies: (vocabulary, table)."""


class CollectValues(beam.DoFn):
    """Splits to partial fits: (feature, counts of values) and (feature, sample of numbers), one a bundle."""

    info: StepInfo | None = None

    def __init__(
        self,
        table: TableJob,
        known: type[KeyIndex | ExcludedRows] = KeyIndex,
        large: frozenset[str] = frozenset(),
    ) -> None:
        """Collect for the categorical and numeric features of one table.

        Args:
            table: the table.
            known: made of the two side inputs.
            large: features whose counts are not gathered but handed on, to be counted by bucket.
        """
        self.table, self.known, self.large = table, known, large
        self.partial: dict[str, list[pa.Table]] = {}

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self.partial = {f.name: [] for f in self.table.value_features}

    def process(self, split: Split, keys: Any, rows_out: Any) -> Iterator[Any]:
        """Collect from one split."""
        with step_call(self.info, "process", split):
            if not self.table.value_features:
                return
            known = self.known(keys, rows_out)
            columns = list(dict.fromkeys(f.column for f in self.table.value_features))
            for rows in kept_rows(self.table, split, columns, known):
                for feature in self.table.value_features:
                    column = one_chunk(rows, feature.column)
                    if isinstance(feature, CategoricalFeature):
                        long, seen = categorical.texts(feature, column)
                        yield TaggedOutput(SEEN, (f"{self.table.side}/{feature.name}", int(seen)))
                        part = categorical.count(long)
                    else:
                        assert isinstance(feature, NumericFeature)
                        texts = pl.Series(rows[KEY])
                        part = numeric.sample(feature, column, texts, known.population)
                    parts = self.partial[feature.name]
                    parts.append(part)
                    if feature.name not in self.large:
                        if len(parts) >= MERGE_AT:
                            self.partial[feature.name] = [merge(feature, parts)]
                    elif sum(map(len, parts)) >= HAND_ON_ROWS:
                        self.partial[feature.name] = []
                        whole = merge(feature, parts)
                        yield TaggedOutput(LARGE, (f"{self.table.side}/{feature.name}", whole))

    def finish_bundle(self) -> Iterator[Any]:
        """Hand on what the bundle has collected."""
        with step_call(self.info, "finish_bundle"):
            for feature in self.table.value_features:
                parts = self.partial[feature.name]
                if not parts:
                    continue
                whole = merge(feature, parts)
                if feature.name in self.large:
                    value = (f"{self.table.side}/{feature.name}", whole)
                    yield TaggedOutput(LARGE, GlobalWindows.windowed_value(value))
                else:
                    yield GlobalWindows.windowed_value((feature.name, whole))


def merge(feature: CategoricalFeature | NumericFeature | Any, parts: list[pa.Table]) -> pa.Table:
    """Partial fits of one feature made one."""
    if isinstance(feature, CategoricalFeature):
        return categorical.merge_counts(parts)
    return numeric.merge_samples(feature, parts)


def finish_fit(
    table: TableJob, element: tuple[str, Iterable[pa.Table]], seen: dict[str, int]
) -> Iterator[Any]:
    """All partial fits of a feature to its vocabulary or boundaries."""
    name, parts = element
    feature = next(f for f in table.value_features if f.name == name)
    found = [p for p in parts if p.num_columns]
    whole = merge(feature, found) if found else None
    if isinstance(feature, CategoricalFeature):
        kinds = Seen(seen.get(f"{table.side}/{name}", 0))
        counts = whole if whole is not None else pa.table({"value": [], "count": []})
        yield name, categorical.vocabulary(feature, counts, kinds, table.name)
    else:
        assert isinstance(feature, NumericFeature)
        edges = numeric.edges(feature, whole, table.name)
        yield name, pa.table([pa.array(edges)], schema=BOUNDARIES_SCHEMA)
