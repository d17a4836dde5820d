"""The catalogue's wiring: keys, fit, encode, write. Each transform is one arrow of the flow."""

from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, AsSingleton, PCollection

from heterrec_pipeline.catalogue.aggregate import (
    AggregateItems,
    ToItems,
    aggregate_columns,
    derived,
)
from heterrec_pipeline.catalogue.encode import EncodeItems, EncodeUsers, Fitted
from heterrec_pipeline.catalogue.fit import CollectValues, FinishFit
from heterrec_pipeline.catalogue.keys import (
    REPEATED,
    SEEN,
    ChooseRows,
    KeyRules,
    NumberKeys,
    ReadKeys,
    ReadRepeated,
)
from heterrec_pipeline.catalogue.quantizers import FitBlocks, JoinBlocks, PlanPasses
from heterrec_pipeline.catalogue.write import (
    StoreFitted,
    WriteFitted,
    WriteItemShard,
    WriteItemVocabulary,
)
from heterrec_pipeline.exchange import ByReference, Exchange
from heterrec_pipeline.graph import EMPTY, AllToOne, ByShard, Composite, Kinds, Step, of_type
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.publishing.ledger import Ledger
from heterrec_pipeline.publishing.parts import Part
from heterrec_pipeline.publishing.shards import Written
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.sequences.log import ReadLog
from heterrec_pipeline.worker_errors import carried

ITEM_BUCKETS = 16


class _SplitFile(beam.DoFn):
    @carried
    def process(self, file: InputFile):  # type: ignore[no-untyped-def]
        yield from split_file(file)


@dataclass(eq=False, kw_only=True)
class ListSplits(Composite):
    """The files of a table to splits."""

    files: tuple[InputFile, ...]

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Split every file."""
        return (
            root
            | "files" >> beam.Create(list(self.files), reshuffle=False)
            | "split" >> beam.ParDo(_SplitFile()).with_output_types(Split)
        )


class Keyed(NamedTuple):
    """A table's kept keys: index (key, id, shard), the rows that lost, and the kinds of its keys."""

    index: PCollection
    losers: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class Keys(Composite):
    """Splits of a table to its keys: read, numbered, repeated ones resolved."""

    job: Job
    table: TableJob
    rules: KeyRules | None
    ledger: Ledger
    kinds: PCollection | None = None
    """Given for rows out of the log, whose keys were seen there."""

    def expand(self, splits: PCollection) -> Keyed:
        """Read, number, resolve."""
        table, ledger = self.table, self.ledger
        texts, seen = splits | "read" >> Step(
            do_fn=ReadKeys(table, from_log=self.kinds is not None),
            ledger=ledger,
            tags=(SEEN,),
            spread=True,
        )
        kinds = self.kinds or (seen | "kinds" >> Kinds())
        index, repeated = texts | "number" >> AllToOne(
            do_fn=NumberKeys(table, self.rules),
            ledger=ledger,
            side_inputs=(AsDict(kinds),),
            tags=(REPEATED,),
        )
        twice = of_type(repeated, pa.Table) | "keep repeated" >> ByReference(
            job=self.job, stem="repeated"
        )
        rows = splits | "read repeated" >> Step(
            do_fn=ReadRepeated(table), side_inputs=(AsSingleton(twice),), spread=True
        )
        losers = rows | "choose" >> AllToOne(do_fn=ChooseRows(table), ledger=ledger)
        return Keyed(
            index | "keep index" >> ByReference(job=self.job, stem="index"),
            losers | "keep losers" >> ByReference(job=self.job, stem="losers"),
            kinds,
        )


class Fits(NamedTuple):
    """(feature, table) of a table's fitted features, and the kinds of their values."""

    fitted: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class Fit(Composite):
    """Splits of a table to its vocabularies, boundaries and quantizers."""

    job: Job
    table: TableJob
    index: PCollection
    losers: PCollection
    ledger: Ledger
    kinds: PCollection | None = None
    """Given for rows out of the log, whose values were seen there."""

    def expand(self, splits: PCollection) -> Fits:
        """Count and sample in one reading; quantizers read for themselves."""
        table = self.table
        known = (AsSingleton(self.index), AsSingleton(self.losers))
        pair = tuple[str, pa.Table]
        partial, seen = splits | "collect values" >> Step(
            do_fn=CollectValues(table),
            ledger=self.ledger,
            side_inputs=known,
            tags=(SEEN,),
            kind=pair,
            spread=True,
        )
        kinds = seen | "kinds" >> Kinds()
        names = [(f.name, EMPTY) for f in table.counted]
        every = splits.pipeline | "every feature" >> beam.Create(names, reshuffle=False)
        counted = (
            (partial, of_type(every, pair))
            | "with every feature" >> beam.Flatten()
            | "by feature" >> beam.GroupByKey()
            | "finish" >> Step(do_fn=FinishFit(table), side_inputs=(AsDict(kinds),), kind=pair)
        )
        quantizers = (
            splits.pipeline
            | "embeddings" >> beam.Create([f.name for f in table.embeddings], reshuffle=False)
            | "plan blocks" >> beam.ParDo(PlanPasses(table), known[0])
            | "fit blocks"
            >> Step(
                do_fn=FitBlocks(table), side_inputs=(AsIter(splits), *known), kind=pair, spread=True
            )
            | "by embedding" >> beam.GroupByKey()
            | "join blocks" >> Step(do_fn=JoinBlocks(table), kind=pair)
        )
        whole = of_type((counted, quantizers) | "all fits" >> beam.Flatten(), pair)
        whole | "write fits" >> Step(
            do_fn=WriteFitted(self.job, table),
            ledger=self.ledger,
            side_inputs=(AsDict(self.kinds or kinds),),
        )
        fitted = whole | "keep fits" >> beam.ParDo(StoreFitted(self.job, table))
        return Fits(of_type(fitted, tuple[str, Fitted]), kinds)


class CatalogueOutput(NamedTuple):
    """What the log's half needs of the catalogue: the index, the fitted features, the item shards."""

    index: PCollection
    fitted: PCollection
    files: PCollection


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
        layout = job.spec.items.catalogue_vocabulary
        main = job.items if self.kinds is None else derived(job.items)
        keyed = splits | "item keys" >> Keys(
            job=job,
            table=main,
            rules=KeyRules(layout.oov_buckets, layout.shards),
            ledger=ledger,
            kinds=self.kinds,
        )
        keyed.index | "write item vocabulary" >> Step(
            do_fn=WriteItemVocabulary(job), ledger=ledger, side_inputs=(AsDict(keyed.kinds),)
        )
        tables = [(main, splits), *((t, self._listed(splits, t)) for t in job.joins)]
        done = [self._tokens(table, its_splits, keyed) for table, its_splits in tables]
        every = of_type(
            tuple(fitted for fitted, _ in done) | "all fitted" >> beam.Flatten(),
            tuple[str, Fitted],
        )
        tokens = tuple(parts for _, parts in done) | "all parts" >> beam.Flatten()
        files = tokens | "write items" >> WriteItems(
            job=job, index=keyed.index, fitted=every, kinds=keyed.kinds, ledger=ledger
        )
        return CatalogueOutput(keyed.index, every, files)

    def _tokens(
        self, table: TableJob, splits: PCollection, keyed: Keyed
    ) -> tuple[PCollection, PCollection]:
        """Fit and encode one table: its fitted features, and the parts of its tokens."""
        ledger = self.ledger
        losers = self._join_losers(table, splits) if table.joined else keyed.losers
        from_log = self.kinds is not None and not table.joined
        fits = splits | f"fit {table.name}" >> Fit(
            job=self.job,
            table=table,
            index=keyed.index,
            losers=losers,
            ledger=ledger,
            kinds=self.kinds if from_log else None,
        )
        parts = splits | f"encode {table.name}" >> Step(
            do_fn=EncodeItems(self.job, table, report=not from_log),
            ledger=ledger,
            side_inputs=(AsSingleton(keyed.index), AsSingleton(losers), AsDict(fits.fitted)),
            kind=tuple[int, Part],
            spread=True,
        )
        return fits.fitted, parts

    def _listed(self, splits: PCollection, table: TableJob) -> PCollection:
        return splits.pipeline | f"list {table.name}" >> ListSplits(files=table.files)

    def _join_losers(self, table: TableJob, splits: PCollection) -> PCollection:
        keyed = splits | f"{table.name} keys" >> Keys(
            job=self.job, table=table, rules=None, ledger=self.ledger
        )
        return keyed.losers


@dataclass(eq=False, kw_only=True)
class WriteItems(Composite):
    """Parts of tokens to item shards; every shard is written, empty ones too."""

    job: Job
    index: PCollection
    fitted: PCollection
    kinds: PCollection
    ledger: Ledger

    def expand(self, parts: PCollection) -> PCollection:
        """Group the references by shard, and write."""
        shards = range(self.job.spec.output.item_shards)
        return (
            parts
            | "group" >> ByShard(shards=shards, kind=tuple[int, Part | None])
            | "write shard"
            >> Step(
                do_fn=WriteItemShard(self.job),
                ledger=self.ledger,
                side_inputs=(AsSingleton(self.index), AsDict(self.fitted), AsDict(self.kinds)),
                kind=Written,
            )
        )


class UsersOutput(NamedTuple):
    """The users' tokens (user, tokens), and their fitted features."""

    tokens: PCollection
    fitted: PCollection


@dataclass(eq=False, kw_only=True)
class Users(Composite):
    """The table of users to their tokens; nothing when the spec declares none."""

    job: Job
    table: TableJob
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> UsersOutput:
        """Keys, fits, tokens."""
        table, ledger = self.table, self.ledger
        splits = root | "list" >> ListSplits(files=table.files)
        keyed = splits | "keys" >> Keys(job=self.job, table=table, rules=None, ledger=ledger)
        fits = splits | "fit" >> Fit(
            job=self.job, table=table, index=keyed.index, losers=keyed.losers, ledger=ledger
        )
        tokens = splits | "encode" >> Step(
            do_fn=EncodeUsers(table),
            ledger=ledger,
            side_inputs=(AsSingleton(keyed.index), AsSingleton(keyed.losers), AsDict(fits.fitted)),
            spread=True,
        )
        return UsersOutput(tokens, fits.fitted)


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
            do_fn=ReadLog(aggregate_columns(job.spec, job.items), report=False), spread=True
        )
        keyed, seen = rows | "to items" >> Step(
            do_fn=ToItems(job, ITEM_BUCKETS),
            ledger=self.ledger,
            tags=(SEEN,),
            kind=tuple[int, pa.Table],
        )
        items = (
            {"items": keyed}
            | "by item" >> Exchange(job=job)
            | "aggregate" >> Step(do_fn=AggregateItems(job), kind=Split)
        )
        return FromLog(items, seen | "kinds" >> Kinds())
