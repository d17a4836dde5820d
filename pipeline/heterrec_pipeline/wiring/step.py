"""Building blocks of the graph: a function as a step, grouping under one key or by shard, typed collections."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.typehints.decorators import IOTypeHints
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from heterrec_pipeline.telemetry.recorder import StepInfo, record_call
from heterrec_pipeline.wiring.reports import COUNTS, FILES, REJECTS, Ledger
from heterrec_schemas.errors import HeterrecError

StepFn = Callable[..., Iterator[Any]]


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


class Each(beam.DoFn):
    """A plain generator function as a DoFn: its calls are timed, and its errors keep their class on the way to the caller."""

    info: StepInfo | None = None
    """Name and build of the step; set when the graph is drawn."""

    def __init__(self, fn: StepFn) -> None:
        """Wrap a module-level function, or a `partial` of one, of (element, *side inputs)."""
        self.fn = fn

    def default_label(self) -> str:
        """The function's name, which engines show."""
        fn = self.fn.func if isinstance(self.fn, partial) else self.fn
        return fn.__name__

    def process(self, element: Any, *side_inputs: Any) -> Iterator[Any]:
        """Yield what the function yields for one element."""
        with step_call(self.info, "process", element):
            yield from self.fn(element, *side_inputs) or ()


@contextmanager
def step_call(info: StepInfo | None, call: str, element: object = None) -> Iterator[None]:
    """Time a call of a step. An error of the project is raised as a `RuntimeError` from which `worker_errors` restores it."""
    try:
        with record_call(info, call, element):
            yield
    except HeterrecError as error:
        raise RuntimeError(f"{error.message} {error.to_wire()}") from error


@dataclass(eq=False, kw_only=True)
class Step(Composite):
    """A function on elements, as a transform whose counts, rejects and files go to the ledger.

    Returns the main output, or with `tags` a tuple of the main output and one collection per tag.

    Attributes:
        fn: a generator function of (element, *side inputs), usually a `partial` that binds the job; or a DoFn with bundle
            state.
        ledger: takes counts, rejects and files; None for a step that reports nothing.
        side_inputs: passed to `fn` behind the element.
        tags: names of further outputs.
        kind: the type of the main output's elements, which decides their coder.
        tag_kinds: types of the further outputs' elements.
        spread: redistribute the elements first. A step that reads splits then uses all workers, and is a stage of its own.
            (FnApiRunner finishes a collection only when all its consumers have finished. Two readings that share their
            splits directly, one depending on the other, would wait for each other for ever.)
    """

    fn: StepFn | beam.DoFn
    ledger: Ledger | None = None
    side_inputs: tuple[Any, ...] = ()
    tags: tuple[str, ...] = ()
    kind: Any = pa.Table
    tag_kinds: dict[str, Any] = field(default_factory=dict)
    spread: bool = False

    def expand(self, collection: PCollection) -> Any:
        """Apply the function to every element."""
        if self.spread:
            collection = collection | "spread" >> beam.Reshuffle()
        do_fn = self.fn if isinstance(self.fn, beam.DoFn) else Each(self.fn)
        done = collection | "each" >> beam.ParDo(do_fn, *self.side_inputs).with_outputs(
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
class AllToOne(Composite):
    """A `Step` that gets all tables of a collection in one call, as (0, tables); it is called even when there are none."""

    fn: StepFn
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
            fn=self.fn,
            ledger=self.ledger,
            side_inputs=self.side_inputs,
            tags=self.tags,
            kind=self.kind,
        )


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
