"""Tokens of large categorical features: cells in long form go to the bucket that knows their values, and become cells again.

A row of the **long form** is one value of one cell: `owner` (the item or user whose cell it is), `feature` (its number in the
list of large ones), `position` (ascending along the cell), and `value`; later `id` and `outside` instead of the value.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import categorical
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.reading.read import one_chunk
from heterrec_pipeline.vocabularies.lookup import Lookup
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.tokens import MISSING, oov_ids

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
    """The features of some tables whose vocabularies go by bucket."""
    return [
        f
        for t in tables
        for f in t.features
        if isinstance(f, CategoricalFeature) and job.sizes.is_large(f"{t.side}/{f.name}")
    ]


def long_form(
    feature: CategoricalFeature, number: int, column: pa.Array, owners: pl.Series
) -> pa.Table:
    """The cells of a batch in long form, a value once a cell.

    Args:
        feature: the feature.
        number: its number.
        column: n raw cells.
        owners: n owners.
    """
    long, _ = categorical.texts(feature, column)
    long = long.unique(["row", "value"], keep="first", maintain_order=True)
    return long.select(
        owners.gather(long["row"]).alias(OWNER),
        pl.lit(number, pl.Int16).alias("feature"),
        pl.int_range(pl.len(), dtype=pl.Int32).alias("position"),
        "value",
    ).to_arrow()


def cells(
    feature: CategoricalFeature, pieces: list[pl.DataFrame], owners: pl.Series
) -> tuple[pa.Array, int]:
    """The cells of some owners, from the long form with ids of just these owners.

    Args:
        feature: the feature.
        pieces: columns owner, position, id, outside, in any order.
        owners: n distinct owners; one without rows has a missing cell.

    Returns:
        n tokens, and how many owners hold a value outside of the vocabulary.
    """
    schema: dict[str, Any] = {
        OWNER: owners.dtype,
        "position": pl.Int32,
        "id": pl.Int32,
        "outside": pl.Boolean,
    }
    long = pl.concat([pl.DataFrame(schema=schema), *(p.select(*schema) for p in pieces)])
    oov = long.filter("outside")[OWNER].n_unique()
    found = long.select(OWNER, "id")
    filled: Any = MISSING
    if feature.multivalued:
        filled = pl.Series([[MISSING]], dtype=pl.List(pl.Int32))
        ids = pl.col("id") if feature.max_values is None else pl.col("id").head(feature.max_values)
        found = (
            long.filter(pl.col("id") != MISSING)
            .sort(OWNER, "position")
            .unique([OWNER, "id"], keep="first", maintain_order=True)
            .group_by(OWNER, maintain_order=True)
            .agg(ids)
        )
    whole = pl.DataFrame({OWNER: owners}).join(found, on=OWNER, how="left", maintain_order="left")
    column = whole["id"].fill_null(filled).to_arrow().cast(feature.token_type)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, oov


def look_up_bucket(
    features: Sequence[CategoricalFeature],
    side: str,
    element: tuple[BucketKey, dict[str, Iterable[Any]]],
) -> Iterator[pa.Table]:
    """A bucket's ids and the long form of cells that hold its values: long form with ids."""
    (name, _), pieces = element
    feature = next(f for f in features if f"{side}/{f.name}" == name)
    ids = bucket_ids(pieces["ids"])
    for piece in pieces["cells"]:
        yield with_ids(feature, as_frame(load(piece)), ids).to_arrow()


def bucket_ids(parts: Iterable[pa.Table | TableRef]) -> Lookup:
    """The id of each value of a bucket."""
    none = pl.DataFrame(schema={"value": pl.String, "id": pl.Int64})
    whole = pl.concat([none, *(as_frame(load(p)) for p in parts)])
    return Lookup(whole["value"], whole["id"])


def with_ids(feature: CategoricalFeature, long: pl.DataFrame, known: Lookup) -> pl.DataFrame:
    """Long form with ids instead of values; values without one get theirs by the rule for such values."""
    ids = known.find(long["value"])
    outside = ids.is_null()
    if outside.any():
        replaced = oov_ids(long["value"].filter(outside), feature.oov_buckets)
        ids = ids.scatter(outside.arg_true(), replaced)
    columns = {"id": ids.cast(pl.Int32), "outside": outside}
    return long.with_columns(**columns).select(OWNER, "feature", "position", *columns)


class LargeCells:
    """The large features of a table among those of its side, which are numbered."""

    def __init__(self, table: TableJob, large: Sequence[str]) -> None:
        """Look for the features of these names."""
        self.side, self.numbers = table.side, {name: k for k, name in enumerate(large)}
        self.features = [f for f in table.features if f.name in self.numbers]
        self.rest = replace(
            table, features=tuple(f for f in table.features if f.name not in self.numbers)
        )
        """The table with its other features."""

    def tagged(self, rows: pa.Table, owner: str) -> Iterator[TaggedOutput]:
        """The long form of a batch's large features: (vocabulary, table), tagged `CELLS`."""
        owners = pl.Series(rows[owner])
        for feature in self.features:
            assert isinstance(feature, CategoricalFeature)
            column = one_chunk(rows, feature.column)
            long = long_form(feature, self.numbers[feature.name], column, owners)
            if len(long):
                yield TaggedOutput(CELLS, (f"{self.side}/{feature.name}", long))
