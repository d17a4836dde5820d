"""Cells of large categorical features: split into values, joined with ids by bucket, and put together again.

Each row of a table of **values** is one value of one cell: `owner` (the cell's item or user), `feature` (its number in the
list of large ones), `position` (ascending along the cell) and `value`; after the join, `id` and `outside` (the vocabulary)
replace the value.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import categorical
from heterrec_pipeline.features.cells import EncodedColumn
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.lookup import bucket_lookup
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_schemas.feature_spec import CategoricalFeature

OWNER = "owner"
CELLS = "cells"
WITH_IDS = {
    OWNER: pl.String,
    "feature": pl.Int16,
    "position": pl.Int32,
    "id": pl.Int32,
    "outside": pl.Boolean,
}


def large_features(job: Job, tables: Sequence[TableJob]) -> list[CategoricalFeature]:
    """The features of some tables whose values are looked up by bucket."""
    return [
        f
        for t in tables
        for f in t.features
        if isinstance(f, CategoricalFeature) and job.sizes.is_large(f"{t.side}/{f.name}")
    ]


def cell_values(number: int, column: pa.Array, owners: pl.Series) -> pa.Table:
    """Split the cells of a batch into values, each once per cell.

    Args:
        number: number of the feature among the large ones.
        column: n parsed cells.
        owners: n owners.
    """
    values = categorical.codes_of(column).frame()
    values = values.unique(["row", "value"], keep="first", maintain_order=True)
    return values.select(
        owners.gather(values["row"]).alias(OWNER),
        pl.lit(number, pl.Int16).alias("feature"),
        pl.int_range(pl.len(), dtype=pl.Int32).alias("position"),
        "value",
    ).to_arrow()


def cells(
    feature: CategoricalFeature, pieces: Iterable[pa.Table], owners: pl.Series
) -> EncodedColumn:
    """The cells of some owners.

    Args:
        feature: the feature.
        pieces: values with ids, in any order, of these owners only.
        owners: n distinct owners; one without values has a missing cell.
    """
    schema: dict[str, Any] = {**WITH_IDS, OWNER: owners.dtype}
    frames = [as_frame(p).select(*schema) for p in pieces]
    values = pl.concat([pl.DataFrame(schema=schema), *frames])
    if feature.multivalued:
        values = values.sort(OWNER, "position")
    return categorical.cells_of(feature, values.select(OWNER, "id", "outside"), owners)


def join_ids(
    features: Sequence[CategoricalFeature],
    side: str,
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
) -> Iterator[pa.Table]:
    """Join the values of cells in a bucket with the bucket's ids."""
    (name, _), pieces = element
    feature = next(f for f in features if f"{side}/{f.name}" == name)
    ids = bucket_lookup(pieces["ids"])
    for piece in pieces["cells"]:
        yield with_ids(feature, as_frame(load(piece)), ids).to_arrow()


def with_ids(feature: CategoricalFeature, values: pl.DataFrame, index: Lookup) -> pl.DataFrame:
    """Values of cells with ids instead of texts; a text outside the index has an id by the rule for such texts."""
    ids = categorical.value_ids(feature, values["value"], index.find)
    return values.hstack(ids).select(*WITH_IDS)


class LargeCells:
    """The large features of a table, by their numbers among those of its side."""

    def __init__(self, table: TableJob, large: Sequence[str]) -> None:
        """Split a table's features; `large` are the names of its side's large features."""
        self.side, self.numbers = table.side, {name: k for k, name in enumerate(large)}
        self.features = [f for f in table.features if f.name in self.numbers]
        self.rest = replace(
            table, features=tuple(f for f in table.features if f.name not in self.numbers)
        )
        """The table with its other features only."""

    def tagged(self, rows: pa.RecordBatch, owner: str) -> Iterator[TaggedOutput]:
        """The values of the large features of digested rows: (vocabulary, table), tagged `CELLS`."""
        owners = pl.Series(rows[owner])
        for feature in self.features:
            values = cell_values(self.numbers[feature.name], rows[feature.name], owners)
            if len(values):
                yield TaggedOutput(CELLS, (f"{self.side}/{feature.name}", values))
