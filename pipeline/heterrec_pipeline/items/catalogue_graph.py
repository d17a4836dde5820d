"""The wiring of the catalogue: keys, fits, tokens, shards."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.fitting.fit_graph import Fit, Fits
from heterrec_pipeline.items.cuts import ItemCuts, find_cuts, run_cuts
from heterrec_pipeline.items.encode import TOKENS, encode_items
from heterrec_pipeline.items.from_log import (
    aggregate_items,
    derived,
    read_items,
    reduce_to_buckets,
)
from heterrec_pipeline.items.place_graph import PlaceByItem
from heterrec_pipeline.items.retired import take_retired, write_retired_shard
from heterrec_pipeline.items.write import write_item_shard
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.keys.key_graph import Keys, RowFilter
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.vocabularies.cells import CELLS, large_features
from heterrec_pipeline.vocabularies.lookup_graph import LookUpCells
from heterrec_pipeline.vocabularies.numbering_graph import STORED, Numbered, NumberValues, key_rules
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.cut import FLUSH_BYTES
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import ByShard, Composite, Step, ValueKinds, nothing, of_type

PAIR = tuple[str, pa.Table]


class CatalogueOutput(NamedTuple):
    """Inputs of the log's half: ((items, bucket), stored table of key and id), fitted and judged features, item shards."""

    index: PCollection
    fitted: PCollection
    files: PCollection
    judged: PCollection


class EncodedTable(NamedTuple):
    """The outputs of `encode_items`."""

    parts: PCollection
    tokens: PCollection
    cells: PCollection


def _of_shard_0(ref: TableRef) -> tuple[int, TableRef]:
    return 0, ref


@dataclass(eq=False, kw_only=True)
class Catalogue(Composite):
    """Splits of the items to the item index, fitted features and item shards."""

    job: Job
    ledger: Ledger
    kinds: PCollection | None = None
    """Kinds of keys and values; given when the items are made from the log."""

    def expand(self, splits: PCollection) -> CatalogueOutput:
        """Keys, fits and tokens of every table, then shards."""
        job, ledger = self.job, self.ledger
        main = job.items if self.kinds is None else derived(job.items)
        tables = (main, *job.joins)
        by_table = {main.name: splits} | {
            t.name: splits.pipeline
            | f"list {t.name}"
            >> ListSplits(
                files=t.files, ledger=ledger, reuse=job.reuse, readings=job.readings_of(t)
            )
            for t in job.joins
        }
        keyed = by_table | "keys" >> Keys(job=job, tables=tables, ledger=ledger, kinds=self.kinds)
        index = keyed.keys | "number keys" >> NumberValues(
            job=job, rules={ITEMS: key_rules(job, main)}, kinds=keyed.kinds, ledger=ledger
        )
        fits = by_table | "fit" >> Fit(
            job=job, tables=tables, rows=keyed.rows, ledger=ledger, kinds=self.kinds
        )
        ids = (index.in_memory, fits.ids.in_memory) | "ids in memory" >> beam.Flatten()
        cuts = self._cuts(keyed.rows, index)
        side_inputs = (
            AsSingleton(cuts),
            AsDict(keyed.rows.excluded),
            AsDict(fits.fitted),
            AsIter(of_type(ids, STORED)),
        )
        encoded = {t.name: self._encode(t, by_table[t.name], side_inputs) for t in tables}
        files = (
            self._parts(tables, encoded, cuts, fits, index)
            | "all parts" >> beam.Flatten()
            | "write items"
            >> WriteItems(job=job, cuts=cuts, fitted=fits.fitted, kinds=keyed.kinds, ledger=ledger)
        )
        if job.parent is not None and job.spec.keeps_retired:
            retired = index.places | "retired" >> RetiredItems(
                job=job, cuts=cuts, fitted=fits.fitted, kinds=keyed.kinds, ledger=ledger
            )
            files = of_type((files, retired) | "all items" >> beam.Flatten(), Written)
        of_items = index.by_bucket if job.sizes.is_large(ITEMS) else index.in_memory
        return CatalogueOutput(of_items, fits.fitted, files, fits.judged)

    def _cuts(self, rows: RowFilter, index: Numbered) -> PCollection:
        """The borders of item shards (`ItemCuts`)."""
        if self.job.parent is None:
            return rows.population | "cuts" >> Step(fn=partial(run_cuts, self.job), kind=ItemCuts)
        return (
            index.places
            | "places" >> beam.Map(_of_shard_0).with_output_types(tuple[int, TableRef])
            | "all places" >> ByShard(shards=(0,), kind=tuple[int, TableRef | None])
            | "find cuts" >> Step(fn=partial(find_cuts, self.job), kind=ItemCuts)
        )

    def _encode(
        self, table: TableJob, splits: PCollection, side_inputs: tuple[Any, ...]
    ) -> EncodedTable:
        """Encode one table."""
        job = self.job
        from_log = self.kinds is not None and not table.joined
        large = [f.name for f in large_features(job, job.item_tables)]
        encoded = splits | f"encode {table.name}" >> Step(
            fn=partial(encode_items, job, table, report=not from_log, large=large),
            ledger=self.ledger,
            side_inputs=side_inputs,
            tags=(TOKENS, CELLS),
            tag_kinds={TOKENS: PAIR, CELLS: PAIR},
            kind=tuple[int, TableRef],
            spread=True,
        )
        return EncodedTable(*encoded)

    def _parts(
        self,
        tables: tuple[TableJob, ...],
        encoded: dict[str, EncodedTable],
        cuts: PCollection,
        fits: Fits,
        index: Numbered,
    ) -> tuple[PCollection, ...]:
        """(item shard, stored rows): those encoded in place, and those placed by bucket."""
        job = self.job
        parts = tuple(e.parts for e in encoded.values())
        large, by_key = large_features(job, tables), job.sizes.is_large(ITEMS)
        if not large and not by_key:
            return parts
        if large:
            every = tuple(e.cells for e in encoded.values()) | "all cells" >> beam.Flatten()
            cells = of_type(every, PAIR) | "look up" >> LookUpCells(
                job=job, side="item", large=large, index=fits.ids.by_bucket
            )
        else:
            cells = nothing(index.by_bucket.pipeline, "no cells", pa.Table)
        placed = cells | "place" >> PlaceByItem(
            job=job,
            tables=tables,
            large=[f.name for f in large],
            cuts=cuts,
            index=index.by_bucket if by_key else None,
            tokens={name: e.tokens for name, e in encoded.items()},
        )
        return (*parts, placed)


@dataclass(eq=False, kw_only=True)
class WriteItems(Composite):
    """Parts of tokens to item shards; every shard is written, including empty ones."""

    job: Job
    cuts: PCollection
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
                    AsSingleton(self.cuts),
                    AsDict(self.fitted),
                    AsDict(self.kinds),
                ),
                kind=Written,
            )
        )


@dataclass(eq=False, kw_only=True)
class RetiredItems(Composite):
    """The places of a refresh's items to the shards of retired/, if there are rows."""

    job: Job
    cuts: PCollection
    fitted: PCollection
    kinds: PCollection
    ledger: Ledger

    def expand(self, places: PCollection) -> PCollection:
        """Take the rows over from the parent's files, group them by shard, write."""
        job = self.job
        assert job.parent is not None
        cuts, shards = AsSingleton(self.cuts), range(job.spec.output.item_shards)
        return (
            places.pipeline
            | "parent's files" >> beam.Create(job.parent.tokens, reshuffle=False)
            | "take"
            >> Step(
                fn=partial(take_retired, job),
                side_inputs=(cuts, AsIter(places)),
                kind=tuple[int, TableRef],
                spread=True,
            )
            | "group" >> ByShard(shards=shards, kind=tuple[int, TableRef | None])
            | "write"
            >> Step(
                fn=partial(write_retired_shard, job),
                ledger=self.ledger,
                side_inputs=(cuts, AsDict(self.fitted), AsDict(self.kinds)),
                kind=Written,
            )
        )


class FromLog(NamedTuple):
    """Splits of item rows made from the log, and the kinds of their keys and values."""

    splits: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class ItemsFromLog(Composite):
    """Splits of a denormalised log to splits of item rows; the rows are reduced before they are shuffled by item."""

    job: Job
    ledger: Ledger

    def expand(self, splits: PCollection) -> FromLog:
        """Read the log again, group by item, aggregate."""
        job = self.job
        raw, seen = splits | "read again" >> Step(
            fn=partial(read_items, job), ledger=self.ledger, tags=(SEEN,), spread=True
        )
        reduce = partial(reduce_to_buckets, job.items, job.sizes.item_buckets)
        reduced = raw | "reduce" >> beam.ParDo(Buffered(reduce, FLUSH_BYTES))
        items = (
            {"items": of_type(reduced, tuple[int, pa.Table])}
            | "by item" >> Exchange(job=job)
            | "aggregate" >> Step(fn=partial(aggregate_items, job), kind=Split)
        )
        return FromLog(items, seen | "kinds" >> ValueKinds())
