"""Pieces that every room's wiring uses: typed outputs, grouping by one key, and the kinds of values seen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.typehints.decorators import IOTypeHints
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from heterrec_pipeline.wiring.reports import COUNTS, FILES, REJECTS, Ledger


class Composite(beam.PTransform):
    """A transform whose parts know their types: its own signature, often of named tuples, tells Beam nothing."""

    def default_type_hints(self) -> IOTypeHints:
        """None."""
        return IOTypeHints.empty()


EMPTY = pa.table({})
"""Stands for nothing: it makes a grouping step run even when no data came."""


def of_type(collection: PCollection, kind: Any) -> PCollection:
    """Tell Beam what a collection holds, so that it chooses the right coder (tables go as Arrow IPC)."""
    collection.element_type = convert_to_beam_type(kind)
    return collection


def tables_in(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables of a group without `EMPTY`."""
    return (t for t in tables if t.num_columns)


def _with_key(table: pa.Table) -> tuple[int, pa.Table]:
    return 0, table


@dataclass(eq=False, kw_only=True)
class AllToOne(Composite):
    """Give all tables of a collection to one call of a DoFn, as (0, tables); it is called even when there are none."""

    do_fn: beam.DoFn
    ledger: Ledger | None = None
    side_inputs: tuple[Any, ...] = ()
    tags: tuple[str, ...] = ()
    kind: Any = pa.Table

    def expand(self, tables: PCollection) -> Any:
        """Group by one key."""
        nothing = tables.pipeline | "nothing" >> beam.Create([EMPTY])
        keyed = (tables, of_type(nothing, pa.Table)) | "with nothing" >> beam.Flatten()
        grouped = (
            keyed
            | "one key" >> beam.Map(_with_key).with_output_types(tuple[int, pa.Table])
            | "gather" >> beam.GroupByKey()
        )
        return grouped | "do" >> Step(
            do_fn=self.do_fn,
            ledger=self.ledger,
            side_inputs=self.side_inputs,
            tags=self.tags,
            kind=self.kind,
        )


@dataclass(eq=False, kw_only=True)
class Step(Composite):
    """A ParDo whose counts, rejects and files go to the ledger.

    Gives back the main output, or with `tags` a tuple of the main output and one collection a tag. With `spread` its elements
    are first redistributed: a reading of splits spreads over all workers, and is a stage of its own. (FnApiRunner waits for
    all consumers of a collection before it takes the collection as finished, so that readings which share their splits
    directly, one depending on another, would wait for ever.)
    """

    do_fn: beam.DoFn
    ledger: Ledger | None = None
    side_inputs: tuple[Any, ...] = ()
    tags: tuple[str, ...] = ()
    kind: Any = pa.Table
    tag_kinds: dict[str, Any] = field(default_factory=dict)
    spread: bool = False

    def expand(self, collection: PCollection) -> Any:
        """Apply the DoFn."""
        if self.spread:
            collection = collection | "spread" >> beam.Reshuffle()
        done = collection | "each" >> beam.ParDo(self.do_fn, *self.side_inputs).with_outputs(
            COUNTS, REJECTS, FILES, *self.tags, main="main"
        )
        if self.ledger is not None:
            self.ledger.take(
                of_type(done[COUNTS], tuple[str, int]),
                of_type(done[REJECTS], pa.Table),
                done[FILES],
            )
        main = of_type(done["main"], self.kind)
        if not self.tags:
            return main
        return (main, *(of_type(done[t], self.tag_kinds.get(t, Any)) for t in self.tags))


@dataclass(eq=False, kw_only=True)
class ByShard(Composite):
    """(shard, reference) grouped by shard; every shard has a group, those without a reference one that holds None.

    Attributes:
        shards: the keys of all shards.
        kind: of the elements, None among their references.
    """

    shards: Iterable[Any]
    kind: Any

    def expand(self, parts: PCollection) -> PCollection:
        """Add a None for every shard, and group."""
        every = parts.pipeline | "every shard" >> beam.Create(
            [(s, None) for s in self.shards], reshuffle=False
        )
        both = (parts, of_type(every, self.kind)) | "with every shard" >> beam.Flatten()
        return both | "by shard" >> beam.GroupByKey()


def _either(values: Iterable[int]) -> int:
    joined = 0
    for value in values:
        joined |= value
    return joined


@dataclass(eq=False, kw_only=True)
class ValueKinds(Composite):
    """(name, kinds of values) of many batches to one a name: the union decides int64 or string."""

    def expand(self, seen: PCollection) -> PCollection:
        """Join the flags by name."""
        return of_type(seen, tuple[str, int]) | "either" >> beam.CombinePerKey(_either)


def nothing(pipeline: beam.Pipeline, label: str, kind: object) -> PCollection:
    """An empty collection."""
    return of_type(pipeline | label >> beam.Create([]), kind)
