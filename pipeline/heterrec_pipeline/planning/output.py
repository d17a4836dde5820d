"""The files of the generation: how many, with how many rows, and about how many bytes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.fitted import feature_entry, missing_token
from heterrec_pipeline.job import ITEMS, Job
from heterrec_pipeline.planning.encoding import parquet_bytes
from heterrec_pipeline.planning.one_table import ID
from heterrec_pipeline.planning.survey.features import FeatureSurvey
from heterrec_pipeline.planning.survey.log import LogSurvey
from heterrec_pipeline.planning.survey.splits import SplitSurvey
from heterrec_pipeline.planning.survey.tables import TableSurvey, chosen_runs
from heterrec_pipeline.sequences.split import ITEM_COUNTS
from heterrec_pipeline.sequences.write import PLAIN, finished, flattened
from heterrec_schemas.feature_spec import CategoricalFeature, NumericFeature
from heterrec_schemas.manifest import SPLITS, FeatureEntry
from heterrec_schemas.rejects import REJECTS_SCHEMA, Reason
from heterrec_schemas.tables import (
    ITEM_COUNTS_SCHEMA,
    ROW_GROUP,
    WIDE_ROW_GROUP,
    items_schema,
    key_type,
    sequences_schema,
    vocabulary_schema,
    with_metadata,
)
from heterrec_schemas.tokens import ITEM_VOCABULARY, vocabulary_shards

Ints = npt.NDArray[np.int64]
VOCABULARY_SAMPLE = 4 * ROW_GROUP


@dataclass(frozen=True)
class Files:
    """Files of one kind.

    Attributes:
        kind: items, sequences/train, vocabularies, ...
        stem: what their names begin with, below the generation's folder.
        shards: how many there are.
        rows, bytes: of all of them.
        schema: the schema of their tables, metadata included.
    """

    kind: str
    stem: str
    shards: int
    rows: int
    bytes: int
    schema: pa.Schema


@dataclass(frozen=True)
class Surveys:
    """Everything that was found out."""

    job: Job
    items: TableSurvey
    joins: tuple[TableSurvey, ...]
    users: TableSurvey | None
    log: LogSurvey
    splits: SplitSurvey

    @property
    def item_features(self) -> list[FeatureSurvey]:
        """The items' features in the spec's order."""
        found = [f for t in (self.items, *self.joins) for f in t.features]
        by_name = {f.feature.name: f for f in found}
        return [by_name[f.name] for f in self.job.spec.items.features if f.name in by_name]

    @property
    def user_features(self) -> list[FeatureSurvey]:
        """The users' features in the spec's order."""
        return self.users.features if self.users else []

    @property
    def features(self) -> list[FeatureSurvey]:
        """All of them, items' first."""
        return [*self.item_features, *self.user_features]

    @property
    def entries(self) -> list[FeatureEntry]:
        """What the manifest will say of the features."""
        sides = (
            (self.item_features, self.items.keys.kept.value),
            (self.user_features, self.users.keys.kept.value if self.users else 0),
        )
        return [
            feature_entry(
                f.feature,
                f.side,
                f.size,
                round(f.missing_share * rows),
                round(f.oov_share * rows),
            )
            for features, rows in sides
            for f in features
        ]


def predicted_files(found: Surveys, rejects: Counter[Reason]) -> list[Files]:
    """All tables of the generation, in the order of their folders."""
    items = item_rows(found)
    return [
        *_fitted(found),
        _item_vocabulary(found),
        _items(found, items),
        *(_sequences(found, split, items) for split in SPLITS),
        _item_counts(found),
        _rejects(found, rejects),
    ]


def item_rows(found: Surveys) -> pa.Table:
    """Rows of the item table, in its order: some of the catalogue where that is large; item_index is their position."""
    mine, spec = found.items, found.job.spec
    if mine.part.whole and mine.keys.whole:
        ids = mine.keys.index["id"].to_numpy()
        runs = [ids[a:b] for a, b in chosen_runs(len(ids))]
        base = np.concatenate(runs) if runs else ids
    else:
        base = mine.tokens[ID].to_numpy()
    columns = {}
    for table in (mine, *found.joins):
        direct = table is mine or (table.part.whole and mine.keys.whole)
        share = table.keys.kept.value / max(1, mine.keys.kept.value)
        at = _places(table, base) if direct else _cycled(len(table.tokens), len(base), share)
        for feature in table.table.features:
            tokens = table.tokens[feature.name].combine_chunks()
            both = pa.concat_arrays([_one_array(tokens), missing_token(feature)])
            columns[feature.name] = both.take(pa.array(np.where(at < 0, len(tokens), at)))
        if table is mine:
            keys = mine.keys.index
            rows = np.searchsorted(keys["id"].to_numpy(), base)
            key = pl.Series(keys["key"].take(pa.array(rows)))
    entries = [feature_entry(f.feature, "item", f.size) for f in found.item_features]
    schema = items_schema(spec, integral=mine.keys.integral, entries=entries)
    columns["item_index"] = pa.array(np.arange(len(base)) + spec.first_item_index)
    columns["item_id"] = (key.cast(pl.Int64) if mine.keys.integral else key).to_arrow()
    return pa.table([columns[f.name].cast(f.type) for f in schema], schema=schema)


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _places(table: TableSurvey, ids: Ints) -> Ints:
    """Where the row of each id stands among the tokens; -1 where there is none."""
    known = table.tokens[ID].to_numpy()
    if len(known) == 0:
        return np.full(len(ids), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[at] == ids, at, -1)


def _cycled(rows: int, wanted: int, share: float) -> Ints:
    """Rows one after the other for about a share of the positions, -1 for the others."""
    steps = np.floor(np.arange(wanted + 1) * min(1.0, share)).astype(np.int64)
    present = np.diff(steps) > 0
    return np.where(present & (rows > 0), steps[:-1] % max(1, rows), -1)


def _items(found: Surveys, sample: pa.Table) -> Files:
    shards, rows = found.job.spec.output.item_shards, found.items.keys.kept.value
    size = parquet_bytes(
        sample, rows, shards, row_group=WIDE_ROW_GROUP, plain=("item_index", "item_id")
    )
    return Files("items", "items/items", shards, rows, round(size), sample.schema)


def _vocabulary(
    name: str, values: pl.DataFrame, rows: int, shards: int, integral: bool, **details: object
) -> Files:
    """The shards of a vocabulary; `values` (id, value, count) are some of its rows."""
    schema = vocabulary_schema(integral, feature=name, vocabulary_shards=shards, **details)
    step = max(1, len(values) // VOCABULARY_SAMPLE)
    runs = [values.slice(k * step * ROW_GROUP, ROW_GROUP) for k in range(4)]
    some = pl.concat(runs) if len(values) > VOCABULARY_SAMPLE else values
    value = some["value"].cast(pl.Int64) if integral else some["value"]
    table = pa.table(
        [
            some["id"].to_arrow(),
            value.to_arrow().cast(key_type(integral)),
            some["count"].to_arrow(),
            pa.array(["active"] * len(some), pa.string()),
        ],
        schema=schema,
    )
    size = parquet_bytes(table, rows, shards, plain=("id", "value"))
    return Files("vocabularies", f"vocabularies/{name}", shards, rows, round(size), schema)


def _item_vocabulary(found: Surveys) -> Files:
    keys, declared = found.items.keys, found.job.spec.items.catalogue_vocabulary
    values = pl.DataFrame(pl.from_arrow(keys.index)).select(
        "id", pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count")
    )
    shards = vocabulary_shards(keys.kept.value, declared.shards)
    return _vocabulary(
        ITEM_VOCABULARY,
        values,
        keys.kept.value,
        shards,
        keys.integral,
        oov_buckets=declared.oov_buckets,
        kind="item",
    )


def _fitted(found: Surveys) -> list[Files]:
    """Vocabularies, boundaries, quantizers."""
    files = []
    for f in found.features:
        if f.fitted is None:
            continue
        feature = f.feature
        stem = feature.name if f.side == "item" else f"user_{feature.name}"
        details = feature_entry(feature, f.side, f.size).details()
        if isinstance(feature, CategoricalFeature):
            values = pl.DataFrame(pl.from_arrow(f.fitted))
            details["oov_buckets"] = feature.oov_buckets
            files.append(_vocabulary(stem, values, f.ids.value, f.shards, f.integral, **details))
            continue
        folder = "boundaries" if isinstance(feature, NumericFeature) else "quantizers"
        schema = with_metadata(f.fitted.schema, folder, feature=stem, **details)
        table = f.fitted.replace_schema_metadata(schema.metadata)
        size = parquet_bytes(table, len(table), 1, plain=("edge",))
        files.append(Files(folder, f"{folder}/{stem}", 1, len(table), round(size), table.schema))
    return files


def _sequences(found: Surveys, split: str, items: pa.Table) -> Files:
    spec = found.job.spec
    flat = spec.output.layout == "flattened"
    entries = [feature_entry(f.feature, "item", f.size) for f in found.item_features if flat]
    entries += [feature_entry(f.feature, "user", f.size) for f in found.user_features]
    schema = sequences_schema(spec, split, integral=found.log.integral, entries=entries)
    rows = found.splits.tables[split]
    if flat:
        rows = _with_item_tokens(found, rows, items)
    table = finished(rows, schema, None, spec.first_item_index)
    count = found.splits.sequences[split]
    shards = spec.output.sequence_shards
    size = parquet_bytes(table, count, shards, row_group=WIDE_ROW_GROUP, plain=PLAIN)
    kind = f"sequences/{split}"
    return Files(kind, kind, shards, round(count), round(size), schema)


def _with_item_tokens(found: Surveys, rows: pa.Table, items: pa.Table) -> pa.Table:
    """Histories with tokens of the items of the sample; each item of the log stands for one of them."""
    spec = found.job.spec
    lists = rows["item_index"].combine_chunks()
    lists = _one_array(lists)
    first = spec.first_item_index
    flat = lists.flatten().to_numpy()
    step = max(1, found.items.keys.kept.value) / max(1, len(items))
    at = np.where(flat >= first, np.minimum((flat - first) / step, len(items) - 1) + first, flat)
    offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    mapped = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(at.astype(np.int64))
    )
    for f in found.item_features:
        tokens = pa.chunked_array(
            [_one_array(items[f.feature.name].combine_chunks()), missing_token(f.feature)]
        )
        rows = rows.append_column(f"item_{f.feature.name}", flattened(mapped, tokens, first))
    return rows


def _item_counts(found: Surveys) -> Files:
    splits, log = found.splits, found.log
    schema = with_metadata(ITEM_COUNTS_SCHEMA, ITEM_COUNTS)
    if log.part.whole and log.row_share >= 1:
        table = splits.train_items
    else:
        ids, rows = log.by_item
        expected = rows * log.scale * splits.train_rows / max(1.0, log.shuffled)
        count = round(float((-np.expm1(-expected)).sum()))
        chosen = np.sort(np.argsort(-rows, kind="stable")[:count])
        trained = np.maximum(1, np.round(expected[chosen])).astype(np.int64)
        table = pa.table({"item_index": ids[chosen].astype(np.int64), "train_count": trained})
    size = parquet_bytes(table.cast(schema), len(table), 1, plain=("item_index",))
    stem = f"item_counts/{ITEM_COUNTS}"
    return Files("item_counts", stem, 1, len(table), round(size), schema)


def _rejects(found: Surveys, rejects: Counter[Reason]) -> Files:
    """Entries as long as those that a build writes; what their values will be is not known here."""
    schema = with_metadata(REJECTS_SCHEMA, "rejects")
    total = sum(rejects.values())
    share = min(1.0, ROW_GROUP / max(1, total))
    reasons = [str(r) for r, n in sorted(rejects.items()) for _ in range(round(n * share))]
    rows = len(reasons)
    keys = pl.Series(found.items.keys.index["key"]).cast(pl.String)
    values = keys.gather(np.arange(rows) % max(1, len(keys))) if len(keys) else None
    table = pa.table(
        [
            pa.array([ITEMS] * rows, pa.string()),
            pa.array([found.job.log[0].name if found.job.log else ""] * rows, pa.string()),
            pa.array(np.arange(rows, dtype=np.int64) * 7),
            pa.array([found.items.table.key] * rows, pa.string()),
            pa.array(reasons, pa.string()),
            pa.nulls(rows, pa.string()) if values is None else values.to_arrow().cast(pa.string()),
        ],
        schema=schema,
    )
    size = parquet_bytes(table, total, 1)
    return Files("rejects", "rejects/rejects", 1, total, round(size), schema)
