"""Number the values of vocabularies: lay out the ids, merge groups of sorted buckets, write the shards."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import all_missing
from heterrec_pipeline.features.fitted import Fitted, fit_details
from heterrec_pipeline.files.parts import TableRef, store, write_parts
from heterrec_pipeline.files.shards import Written, new_shard
from heterrec_pipeline.job import ITEMS, ErasingFeature, Job, TableJob
from heterrec_pipeline.reading.spec_lines import condition
from heterrec_pipeline.vocabularies.count import all_figures, batches, is_integral
from heterrec_pipeline.vocabularies.layout import NO_CUT, Cut, Layout, Rules, lay_out
from heterrec_pipeline.vocabularies.merge import merged
from heterrec_pipeline.wiring.cut import FLUSH_BYTES, BucketKey, cut_by_bucket
from heterrec_pipeline.wiring.reports import report_count, report_file
from heterrec_schemas.errors import DataError
from heterrec_schemas.tables import ACTIVE, ERASED, RETIRED, shard_name, vocabulary_schema

NO_CUTS: Mapping[str, Cut] = MappingProxyType({})
IN_MEMORY = "in_memory"
"""Tags the stored ids of vocabularies that each worker holds in memory."""
PLACES = "places"
"""Tags the ids of a refresh's items, which are not consecutive: stored tables of item_index and retired."""


def lay_out_keys(
    rules: Rules, element: tuple[int, Iterable[pa.Table]], unusable: Iterable[str]
) -> Iterator[tuple[str, Layout]]:
    """All figures of the keys of a side to (vocabulary, `Layout`).

    Args:
        rules: the keys.
        element: the figures of all buckets.
        unusable: examples of rejected rows, for the error.

    Raises:
        DataError: the table holds no key.
    """
    layout = lay_out(rules, all_figures(element[1]))
    if layout.distinct == 0:
        raise no_keys(rules.table, unusable)
    yield rules.name, layout


def lay_out_values(
    rules: dict[str, Rules],
    element: tuple[int, Iterable[pa.Table]],
    cuts: Mapping[str, Cut] = NO_CUTS,
) -> Iterator[tuple[str, Layout]]:
    """All figures of vocabularies to (vocabulary, `Layout`).

    Raises:
        DataError: all values of a feature are missing.
    """
    counted = all_figures(element[1])
    for name, rule in rules.items():
        layout = lay_out(rule, counted.filter(pl.col("vocabulary") == name), cuts.get(name, NO_CUT))
        if layout.distinct == 0 and not rule.inherited:
            assert rule.feature is not None
            detail = " or erased" if isinstance(rule.feature, ErasingFeature) else ""
            raise all_missing(rule.feature.name, rule.feature.column, rule.table.name, detail)
        yield name, layout


def to_group(
    rules: dict[str, Rules], element: tuple[BucketKey, TableRef], layouts: dict[str, Layout]
) -> Iterator[tuple[BucketKey, TableRef]]:
    """Key a sorted bucket by its group: the buckets of one shard, or one bucket that holds whole shards."""
    (name, bucket), stored = element
    groups = min(layouts[name].shards, rules[name].buckets)
    yield (name, bucket % groups), stored


def number_group(
    job: Job,
    rules: dict[str, Rules],
    element: tuple[BucketKey, Iterable[TableRef | None]],
    layouts: dict[str, Layout],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Number a group of sorted buckets and write its vocabulary shards.

    Yields:
        ((vocabulary, bucket), stored table of value and id), tagged `IN_MEMORY` unless the vocabulary is large. Of the
        items' keys in a refresh, `PLACES`.
    """
    (name, group), parts = element
    rule, layout = rules[name], layouts[name]
    if group >= layout.shards:
        return
    buckets = sorted(p for p in parts if p is not None)
    integral = is_integral(rule, seen)
    buffer = IdBuffer(job, rule)
    placed: list[pl.DataFrame] = []
    for shard in range(group, layout.shards, min(layout.shards, rule.buckets)):
        streams = (batches(b, integral, layout.cut, layout.shards, shard) for b in buckets)
        done: list[Written] = []
        for rows in _number_shard(job, rule, layout, shard, integral, merged(streams), done):
            yield from buffer.add(rows)
            if rule.name == ITEMS and rule.known is not None:
                placed.append(_places(rule, rows))
                yield report_count("items.new", int(rows["is_new"].sum()))
                yield report_count("items.retired", int((rows["status"] == RETIRED).sum()))
        yield report_file(done[0])
    yield from buffer.flush()
    if placed:
        table = pl.concat(placed).to_arrow()
        yield TaggedOutput(PLACES, store(job.parts, "item-places", table))


def _places(rules: Rules, rows: pl.DataFrame) -> pl.DataFrame:
    """Columns item_index and retired of the items that the log knows."""
    retired = pl.col("status") == RETIRED
    return rows.filter(in_use(rules)).select(pl.col("id").alias("item_index"), retired=retired)


def in_use(rules: Rules) -> pl.Expr:
    """Whether tables refer to a numbered value: it is present, or the key of a retired item that the log knows."""
    present = pl.col("status") == ACTIVE
    if not rules.keeps_retired:
        return present
    return present | ((pl.col("status") == RETIRED) & pl.col("listed"))


def _number_shard(
    job: Job,
    rules: Rules,
    layout: Layout,
    shard: int,
    integral: bool,
    values: Iterator[pl.DataFrame],
    done: list[Written],
) -> Iterator[pl.DataFrame]:
    """Write a shard; yields its rows with their ids."""
    stem, details = fit_details(rules.table, rules.feature, layout.size)
    schema = vocabulary_schema(
        integral,
        erased=layout.erased,
        feature=stem,
        vocabulary_shards=layout.shards,
        oov_buckets=rules.oov_buckets,
        **details,
    )
    path = f"vocabularies/{shard_name(stem, shard, layout.shards)}"
    first = layout.starts[shard]
    with new_shard(job.root, path, schema, plain=("id", "value"), done=done) as sink:
        for rows in values:
            rows = numbered(rows, first)
            first += int(rows["is_new"].sum())
            sink.write(vocabulary_rows(rows, schema))
            yield rows
    assert first == layout.starts[shard + 1], (rules.name, shard)


def numbered(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    """Add `id`, from `first` on where there is none, and `status` and `is_new`."""
    if "id" not in rows.columns:
        return rows.with_columns(
            pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("id"),
            status=pl.lit(ACTIVE),
            is_new=pl.lit(True),
        )
    is_new = pl.col("id").is_null()
    return rows.with_columns(
        pl.coalesce("id", first + is_new.cum_sum().cast(pl.Int64) - 1).alias("id"),
        status=pl.when(pl.col("value").is_null())
        .then(pl.lit(ERASED))
        .when(pl.col("count") > 0)
        .then(pl.lit(ACTIVE))
        .otherwise(pl.lit(RETIRED)),
        is_new=is_new,
    )


def vocabulary_rows(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Columns id, value (text), count and status as rows of a vocabulary file."""
    value, kind = rows["value"], schema.field("value").type
    columns = [
        rows["id"].to_arrow(),
        (value.cast(pl.Int64) if kind == pa.int64() else value).to_arrow().cast(kind),
        rows["count"].to_arrow(),
        rows["status"].to_arrow().cast(pa.string()),
    ]
    return pa.table(columns, schema=schema)


class IdBuffer:
    """Buffers numbered values and stores them by bucket: ((vocabulary, bucket), table of value and id)."""

    def __init__(self, job: Job, rules: Rules) -> None:
        """Buffer the values of one vocabulary."""
        self.job, self.rules = job, rules
        self.tables: list[pl.DataFrame] = []
        self.bytes = 0.0

    def add(self, rows: pl.DataFrame) -> Iterator[Any]:
        """Add numbered values."""
        if self.rules.known is not None:
            rows = rows.filter(in_use(self.rules))
            # The index of a retired item is negative until the histories are split.
            retired = pl.col("status") == RETIRED
            rows = rows.with_columns(
                pl.when(retired).then(-pl.col("id")).otherwise("id").alias("id")
            )
        if rows.is_empty():  # all of them have left the input
            return
        self.tables.append(rows.select("value", "id", "hash"))
        self.bytes += self.tables[-1].estimated_size()
        if self.bytes >= FLUSH_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[Any]:
        """Store the buffered values, one record batch per bucket."""
        tables, self.tables, self.bytes = self.tables, [], 0.0
        if not tables:
            return
        rows, name = pl.concat(tables), self.rules.name
        numbers = (rows["hash"] % self.rules.buckets).cast(pl.Int64)
        pieces = list(cut_by_bucket(rows.select("value", "id").to_arrow(), numbers))
        stem = "ids-" + name.replace("/", "-")
        path = write_parts(self.job.parts, stem, [piece for _, piece in pieces])
        for batch, (bucket, _) in enumerate(pieces):
            stored = (name, bucket), TableRef(0, name, path, batch)
            yield stored if self.rules.large else TaggedOutput(IN_MEMORY, stored)


def fitted_vocabulary(
    rules: dict[str, Rules], element: tuple[str, Layout]
) -> Iterator[tuple[str, Fitted]]:
    """The layout of a feature's vocabulary to (feature, `Fitted`)."""
    name, layout = element
    feature = rules[name].feature
    assert feature is not None
    yield feature.name, Fitted(None, layout.size)


def no_keys(table: TableJob, unusable: Iterable[str]) -> DataError:
    """The error of a feature table without a single usable row, with one of the examples of rejected rows."""
    names = [f.name for f in table.files]
    where = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "the log"
    example = min(unusable, default="")
    sources = [f.source for f in table.files[:1] if f.source and f.source.where is not None]
    more = [condition(table.name, source) for source in sources]
    more += [f"the keys in {table.erased.name}"] if table.erased else []
    return DataError(
        f"{table.name}: the table holds no row with a key",
        got=f"no usable row in {where}" + (f" ({example})" if example else ""),
        expected=f"rows with a value in column {table.key!r}",
        todo=f"Check source.path and key in the spec{''.join(f', and {m}' for m in more)}.",
    )
