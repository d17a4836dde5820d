"""Write what the catalogue became: item shards, vocabularies, boundaries, quantizers."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.catalogue.encode import Fitted, item_cuts
from heterrec_pipeline.catalogue.long import large_features, looked_up
from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import counted, written
from heterrec_pipeline.publishing.parts import Part, Stored, opened, read_part, store
from heterrec_pipeline.publishing.shards import write_shard
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.spec import CategoricalFeature, EmbeddingFeature, Feature, NumericFeature
from heterrec_schemas.tables import (
    WIDE_ROW_GROUP,
    items_schema,
    shard_name,
    token_type,
    vocabulary_schema,
    with_metadata,
)
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY, MISSING, vocabulary_shards
from heterrec_schemas.values import Seen


def feature_entry(
    feature: Feature, side: str, size: int, missing: int = 0, oov: int = 0
) -> FeatureEntry:
    """What a fitted feature is, for the manifest and the shards' metadata; `size` is that of `Fitted`."""
    more: dict[str, Any] = {}
    if isinstance(feature, CategoricalFeature):
        top = max(FIRST_FREE + feature.oov_buckets, size)
        more = {"vocabulary_size": top, "multivalued": feature.multivalued}
    elif isinstance(feature, NumericFeature):
        bins = size + 1
        more = {"vocabulary_size": FIRST_FREE + bins, "bins": bins, "boundary_version": 1}
    elif isinstance(feature, EmbeddingFeature):
        more = {
            "vocabulary_size": FIRST_FREE + feature.codes,
            "groups": feature.groups,
            "quantiles": feature.quantiles,
            "boundary_version": 1,
        }
    return FeatureEntry.model_validate(
        {"name": feature.name, "kind": feature.kind, "side": side, "missing": missing, "oov": oov}
        | more
    )


def fitted_size(feature: Feature, fitted: pa.Table) -> int:
    """The `size` of `Fitted`."""
    if isinstance(feature, CategoricalFeature):
        return int(pl.Series(fitted["id"]).max() or -1) + 1  # type: ignore[arg-type]
    return len(fitted)


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


class WriteItemShard(beam.DoFn):
    """All parts of an item shard to its Parquet file."""

    def __init__(self, job: Job) -> None:
        """Write shards of one job."""
        self.job = job

    @carried
    def process(
        self,
        element: tuple[int, Iterable[Part | None]],
        population: int,
        fitted: dict[str, Fitted],
        seen: dict[str, int],
    ) -> Iterator[Any]:
        """Write one shard."""
        shard, parts = element
        spec = self.job.spec
        shards = spec.output.item_shards
        low, high = item_cuts(population, shards)[shard : shard + 2] + spec.first_item_index
        integral = Seen(seen.get(ITEMS, 0)).integral
        entries = [feature_entry(f, "item", fitted[f.name].size) for f in spec.items.features]
        schema = items_schema(spec, integral=integral, entries=entries)
        mine = [p for p in parts if p is not None]
        columns = {}
        for large in large_features(self.job, self.job.item_tables):
            values = [read_part(p) for p in sorted(mine) if p.table == f"item/{large.name}"]
            columns[large.name], oov = looked_up(large, values, int(low), int(high))
            yield counted(f"item/{large.name}.oov", oov)
        table = assemble_items(self.job, mine, int(low), int(high), schema, columns)
        for feature in spec.items.features:
            missing = missing_rows(table[feature.name].combine_chunks()) if len(table) else 0
            yield counted(f"item/{feature.name}.missing", missing)
        path = f"items/{shard_name('items', shard, shards)}"
        file = write_shard(
            self.job.root, path, table, row_group=WIDE_ROW_GROUP, plain=("item_index", "item_id")
        )
        METER.wrote("items", len(table))
        yield written(file)
        yield file


def assemble_items(
    job: Job,
    parts: list[Part],
    low: int,
    high: int,
    schema: pa.Schema,
    done: dict[str, pa.Array],
) -> pa.Table:
    """The rows low .. high - 1 of the item table: one a catalogue item, joined tables' tokens beside its own.

    Columns that are `done` already are taken as they are.
    """
    columns: dict[str, pa.ChunkedArray] = {"item_index": pa.array(np.arange(low, high)), **done}
    for table in job.item_tables:
        mine = [read_part(p) for p in sorted(parts) if p.table == table.name]
        features = [f for f in table.features if f.name not in done]
        names = [f.name for f in features] + ([] if table.joined else ["item_id"])
        if not mine or not names:
            columns |= {f.name: _all_missing(f, high - low) for f in features}
            continue
        rows = pa.concat_tables(mine)
        order = np.full(high - low, -1, dtype=np.int64)
        order[rows["item_index"].to_numpy() - low] = np.arange(len(rows))
        absent = np.flatnonzero(order < 0)
        if len(absent):  # items without a row in a joined table
            order[absent] = len(rows)
            rows = pa.concat_tables([rows.select(names), _missing_row(table, names)])
        taken = rows.select(names).take(pa.array(order))
        columns |= {n: taken[n] for n in names}
    if "item_id" not in columns:  # a shard without items
        columns["item_id"] = pa.array([], pa.string())
    cast = [
        pl.Series(columns[f.name]).cast(pl.Int64).to_arrow() if _whole_keys(f) else columns[f.name]
        for f in schema
    ]
    return pa.table([c.cast(f.type) for c, f in zip(cast, schema, strict=True)], schema=schema)


def _whole_keys(field: pa.Field) -> bool:
    return bool(field.name == "item_id" and field.type == pa.int64())


def _all_missing(feature: Feature, rows: int) -> pa.Array:
    one = missing_token(feature)
    return pa.concat_arrays([one] * rows) if rows else one.slice(0, 0)


def missing_token(feature: Feature) -> pa.Array:
    """One item's tokens of a feature that is missing."""
    kind = token_type(feature)
    if isinstance(feature, EmbeddingFeature):
        return pa.array([[MISSING] * feature.groups], kind)
    if isinstance(feature, CategoricalFeature) and feature.multivalued:
        return pa.array([[MISSING]], kind)
    return pa.array([MISSING], kind)


def _missing_row(table: TableJob, names: list[str]) -> pa.Table:
    tokens = {f.name: missing_token(f) for f in table.features}
    return pa.table({n: tokens[n] for n in names})


def vocabulary_rows(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Columns id, value (text) and count as rows of a vocabulary."""
    value = rows["value"]
    whole = schema.field("value").type == pa.int64()
    columns = [
        rows["id"].to_arrow(),
        (value.cast(pl.Int64) if whole else value).to_arrow().cast(schema.field("value").type),
        rows["count"].to_arrow(),
        pa.array(["active"] * len(rows), pa.string()),
    ]
    return pa.table(columns, schema=schema)


def fit_details(table: TableJob, feature: Feature | None, size: int) -> tuple[str, dict[str, Any]]:
    """What the files of a fit are called, and what their metadata say of it.

    Args:
        table: whose it is.
        feature: the feature; None for the items' keys.
        size: that of `Fitted`.
    """
    if feature is None:
        return ITEM_VOCABULARY, {"kind": "item"}
    entry = feature_entry(feature, table.side, size)
    return feature.name if table.side == "item" else f"user_{feature.name}", entry.model_dump(
        include={"kind", "side", "vocabulary_size", "groups", "quantiles", "bins"},
        exclude_none=True,
    )


def write_vocabulary(
    root: str, name: str, vocabulary: pa.Table, *, integral: bool, **details: Any
) -> Iterator[Any]:
    """Write the shards of a vocabulary (id, value, count, shard); V is what its shard column says."""
    frame = pl.DataFrame(pl.from_arrow(vocabulary))
    shards = int(details.pop("shards"))
    schema = vocabulary_schema(integral, feature=name, vocabulary_shards=shards, **details)
    for shard in range(shards):
        table = vocabulary_rows(frame.filter(pl.col("shard") == shard), schema)
        path = f"vocabularies/{shard_name(name, shard, shards)}"
        yield write_shard(root, path, table, plain=("id", "value"))
    METER.wrote(f"vocabulary {name}", len(frame))


class WriteItemVocabulary(beam.DoFn):
    """The index of the items to the shards of the item vocabulary."""

    def __init__(self, job: Job) -> None:
        """Write for one job."""
        self.job = job

    @carried
    def process(self, index: pa.Table | Stored, seen: dict[str, int]) -> Iterator[Any]:
        """Write every shard."""
        declared = self.job.spec.items.catalogue_vocabulary
        values = pl.DataFrame(pl.from_arrow(opened(index))).select(
            "id", pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count"), "shard"
        )
        stem, details = fit_details(self.job.items, None, len(values))
        for file in write_vocabulary(
            self.job.root,
            stem,
            values.to_arrow(),
            integral=Seen(seen.get(ITEMS, 0)).integral,
            shards=vocabulary_shards(len(values), declared.shards),
            oov_buckets=declared.oov_buckets,
            **details,
        ):
            yield written(file)


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
