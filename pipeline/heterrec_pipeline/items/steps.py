"""The catalogue's wiring: keys, fit, encode, write. Each transform is one arrow of the flow."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsSingleton, PCollection

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.fitting.steps import Fit, Fits
from heterrec_pipeline.interactions.read import read_log
from heterrec_pipeline.items.encode import TOKENS, encode_item_split
from heterrec_pipeline.items.from_log import aggregate_columns, aggregate_items, derived, to_items
from heterrec_pipeline.items.place_steps import PlaceByItem
from heterrec_pipeline.items.write import write_item_shard
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.keys.one_table import KeyRules
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.keys.steps import KeysByBucket, NumberedKeys, RowFilter
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.vocabularies.cell_steps import LookUpCells
from heterrec_pipeline.vocabularies.cells import CELLS, large_features
from heterrec_pipeline.vocabularies.steps import NumberValues, key_rules
from heterrec_pipeline.vocabularies.write import write_item_vocabulary
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import ByShard, Composite, Step, ValueKinds, nothing, of_type


class CatalogueOutput(NamedTuple):
    """What the log's half needs of the catalogue: the index, the fitted features, the item shards.

    The index is one table; of a large catalogue ((items, bucket), part).
    """

    index: PCollection
    fitted: PCollection
    files: PCollection


class EncodedTable(NamedTuple):
    """What encoding a table gives: see `encode_item_split`."""

    parts: PCollection
    tokens: PCollection
    cells: PCollection


@dataclass(eq=False, kw_only=True)
class Catalogue(Composite):
    """Splits of the items to the item index, fitted features and item shards."""

    job: Job
    ledger: Ledger
    kinds: PCollection | None = None
    """Given when the items come out of the log."""

    def expand(self, splits: PCollection) -> CatalogueOutput:
        """Keys, then fits and tokens of every table, then shards."""
        job, ledger = self.job, self.ledger
        main = job.items if self.kinds is None else derived(job.items)
        tables = (main, *job.joins)
        by_table = {main.name: splits} | {t.name: self._listed(splits, t) for t in job.joins}
        if job.sizes.is_large(ITEMS):
            index, kinds, rows = self._keys_by_bucket(by_table, tables)
        else:
            index, kinds, rows = self._keys(by_table, tables)
        large = large_features(job, tables)
        fits, done = [], {}
        for table in tables:
            fit, done[table.name] = self._tokens(table, by_table[table.name], rows[table.name])
            fits.append(fit)
        fitted = tuple(f.fitted for f in fits) | "all fitted" >> beam.Flatten()
        fitted = of_type(fitted, tuple[str, Fitted])
        parts = tuple(d.parts for d in done.values())
        population = rows[main.name].population
        if large or job.sizes.is_large(ITEMS):
            cells = of_type(
                tuple(d.cells for d in done.values()) | "all cells" >> beam.Flatten(),
                tuple[str, pa.Table],
            )
            ids = tuple(f.index for f in fits) | "all ids" >> beam.Flatten()
            if large:
                cells = cells | "look up" >> LookUpCells(
                    job=job, side="item", large=large, index=ids
                )
            else:
                cells = nothing(splits.pipeline, "no cells", pa.Table)
            placed = cells | "place" >> PlaceByItem(
                job=job,
                tables=tables,
                large=[f.name for f in large],
                population=population,
                index=index if job.sizes.is_large(ITEMS) else None,
                tokens={name: d.tokens for name, d in done.items()},
            )
            parts = (*parts, placed)
        files = (
            parts
            | "all parts" >> beam.Flatten()
            | "write items"
            >> WriteItems(job=job, population=population, fitted=fitted, kinds=kinds, ledger=ledger)
        )
        return CatalogueOutput(index, fitted, files)

    def _keys(
        self, splits: dict[str, PCollection], tables: tuple[TableJob, ...]
    ) -> tuple[PCollection, PCollection, dict[str, RowFilter]]:
        """The index as one table, written; the kinds of its keys; by table, which rows count."""
        job, ledger, main = self.job, self.ledger, tables[0]
        layout = job.spec.items.catalogue_vocabulary
        keyed = splits[main.name] | "item keys" >> NumberedKeys(
            job=job,
            table=main,
            rules=KeyRules(layout.oov_buckets, layout.shards),
            ledger=ledger,
            kinds=self.kinds,
        )
        keyed.index | "write item vocabulary" >> Step(
            fn=partial(write_item_vocabulary, job),
            ledger=ledger,
            side_inputs=(AsDict(keyed.kinds),),
        )
        rows = {main.name: keyed.rows(keyed.losers)}
        for table in tables[1:]:
            its = splits[table.name] | f"{table.name} keys" >> NumberedKeys(
                job=job, table=table, rules=None, ledger=ledger
            )
            rows[table.name] = keyed.rows(its.losers)
        return keyed.index, keyed.kinds, rows

    def _keys_by_bucket(
        self, splits: dict[str, PCollection], tables: tuple[TableJob, ...]
    ) -> tuple[PCollection, PCollection, dict[str, RowFilter]]:
        """The same, but the index by bucket."""
        job, ledger = self.job, self.ledger
        rules = key_rules(job, tables[0])
        keyed = splits | "item keys" >> KeysByBucket(
            job=job,
            name=ITEMS,
            tables=tables,
            rules=rules,
            buckets=rules.buckets,
            ledger=ledger,
            kinds=self.kinds,
        )
        numbered = keyed.counted | "number keys" >> NumberValues(
            job=job, rules={ITEMS: rules}, kinds=keyed.kinds, ledger=ledger
        )
        return numbered.index, keyed.kinds, {t.name: keyed.rows for t in tables}

    def _tokens(
        self, table: TableJob, splits: PCollection, rows: RowFilter
    ) -> tuple[Fits, EncodedTable]:
        """Fit and encode one table."""
        job, ledger = self.job, self.ledger
        from_log = self.kinds is not None and not table.joined
        fits = splits | f"fit {table.name}" >> Fit(
            job=job,
            table=table,
            rows=rows,
            ledger=ledger,
            kinds=self.kinds if from_log else None,
        )
        large = [f.name for f in large_features(job, job.item_tables)]
        pair = tuple[str, pa.Table]
        encoded = splits | f"encode {table.name}" >> Step(
            fn=partial(
                encode_item_split, job, table, report=not from_log, known=rows.known, large=large
            ),
            ledger=ledger,
            side_inputs=(*rows.sides, AsDict(fits.fitted)),
            tags=(TOKENS, CELLS),
            tag_kinds={TOKENS: pair, CELLS: pair},
            kind=tuple[int, TableRef],
            spread=True,
        )
        return fits, EncodedTable(*encoded)

    def _listed(self, splits: PCollection, table: TableJob) -> PCollection:
        return splits.pipeline | f"list {table.name}" >> ListSplits(files=table.files)


@dataclass(eq=False, kw_only=True)
class WriteItems(Composite):
    """Parts of tokens to item shards; every shard is written, empty ones too."""

    job: Job
    population: PCollection
    fitted: PCollection
    kinds: PCollection
    ledger: Ledger

    def expand(self, parts: PCollection) -> PCollection:
        """Group the references by shard, and write."""
        shards = range(self.job.spec.output.item_shards)
        return (
            parts
            | "group" >> ByShard(shards=shards, kind=tuple[int, TableRef | None])
            | "write shard"
            >> Step(
                fn=partial(write_item_shard, self.job),
                ledger=self.ledger,
                side_inputs=(
                    AsSingleton(self.population),
                    AsDict(self.fitted),
                    AsDict(self.kinds),
                ),
                kind=Written,
            )
        )


class FromLog(NamedTuple):
    """Splits of item rows made from the log, and the kinds of their keys and values."""

    splits: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class ItemsFromLog(Composite):
    """Splits of a denormalised log to splits of item rows: the log's second shuffle, by item."""

    job: Job
    ledger: Ledger

    def expand(self, splits: PCollection) -> FromLog:
        """Read again, group by item, aggregate."""
        job = self.job
        rows = splits | "read again" >> Step(
            fn=partial(read_log, aggregate_columns(job.spec, job.items), report=False), spread=True
        )
        keyed, seen = rows | "to items" >> Step(
            fn=partial(to_items, job, job.sizes.item_buckets),
            ledger=self.ledger,
            tags=(SEEN,),
            kind=tuple[int, pa.Table],
        )
        items = (
            {"items": keyed}
            | "by item" >> Exchange(job=job)
            | "aggregate" >> Step(fn=partial(aggregate_items, job), kind=Split)
        )
        return FromLog(items, seen | "kinds" >> ValueKinds())
