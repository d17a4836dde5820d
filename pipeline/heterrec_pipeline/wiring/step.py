"""A generator function as a step of the graph; grouping under one key or by shard; typed collections."""

import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.typehints.decorators import IOTypeHints
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import FILE
from heterrec_pipeline.telemetry.recorder import StepInfo, record_call
from heterrec_pipeline.wiring.reports import COUNTS, FILES, REJECTS, Ledger
from heterrec_pipeline.wiring.signatures import remember_signatures
from heterrec_pipeline.worker_errors import is_panic, panic
from heterrec_schemas.errors import HeterrecError

StepFn = Callable[..., Iterator[Any]]
remember_signatures()


class Composite(beam.PTransform):
    """A transform without type hints of its own: its parts are typed, and Beam cannot use hints of named tuples."""

    def default_type_hints(self) -> IOTypeHints:
        """No hints."""
        return IOTypeHints.empty()


EMPTY = pa.table({})
"""A placeholder that makes a grouping step run without data."""


def of_type(collection: PCollection, kind: Any) -> PCollection:
    """Set the element type of a collection, which decides Beam's coder (Arrow IPC for tables)."""
    collection.element_type = convert_to_beam_type(kind)
    return collection


def total_counts(ledger: Ledger) -> beam.PCollection:
    """The counts that the steps so far have reported, added up by name."""
    return of_type(ledger.all(COUNTS), tuple[str, int]) | "add up" >> beam.CombinePerKey(sum)


def tables_in(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables of a group without `EMPTY`."""
    return (t for t in tables if t.num_columns)


def _with_key(table: pa.Table) -> tuple[int, pa.Table]:
    return 0, table


class Each(beam.DoFn):
    """A plain generator function as a DoFn, with recorded calls and with errors that the caller can restore."""

    info: StepInfo | None = None
    """Name and build of the step; set by `name_steps`."""

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
    """Record a call of a step.

    Raises:
        RuntimeError: an error of the project, or a panic of a library; `worker_errors` restores it from the text.
    """
    try:
        with record_call(info, call, element):
            yield
    except HeterrecError as error:
        raise RuntimeError(f"{error.message} {error.to_wire()}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        failure = panic(error, _file_of(element))
        raise RuntimeError(f"{failure.message} {failure.to_wire()}") from error


def _file_of(element: object) -> str | None:
    """The input file of an element: a split, or a located table."""
    if isinstance(element, Split):
        return element.file.name
    found = element.schema.metadata if isinstance(element, pa.Table) else None
    return str(found[FILE].decode()) if found and FILE in found else None


@dataclass(eq=False, kw_only=True)
class Step(Composite):
    """A function on elements as a transform; its counts, rejects and files go to the ledger.

    Returns the main output, or with `tags` a tuple of the main output and one collection per tag.

    Attributes:
        fn: a generator function of (element, *side inputs), usually a `partial` that binds the job; or a DoFn with bundle
            state.
        ledger: takes counts, rejects and files; None if the step reports nothing.
        side_inputs: passed to `fn` after the element.
        tags: names of further outputs.
        kind: the type of the main output's elements, which decides their coder.
        tag_kinds: types of the further outputs' elements.
        spread: redistribute the elements first. A step that reads splits then uses all workers, and is a stage of its own.
            (FnApiRunner finishes a collection only when all its consumers have finished. Two steps that read the same
            splits, one depending on the other, would deadlock without it.)
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
    """A `Step` that gets all tables of a collection in one call, as (0, tables); it is called without tables, too."""

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
    """(shard, reference) grouped by shard; every shard has a group, which contains a None.

    Attributes:
        shards: the keys of all shards.
        kind: the type of the elements; the reference may be None.
    """

    shards: Iterable[Any]
    kind: Any

    def expand(self, parts: PCollection) -> PCollection:
        """Add a None for every shard and group."""
        every = parts.pipeline | "every shard" >> beam.Create(
            [(s, None) for s in self.shards], reshuffle=False
        )
        both = (parts, of_type(every, self.kind)) | "with every shard" >> beam.Flatten()
        return both | "by shard" >> beam.GroupByKey()


def _union(flags: Iterable[int]) -> int:
    return reduce(operator.or_, flags, 0)


@dataclass(eq=False, kw_only=True)
class ValueKinds(Composite):
    """(name, kinds of values) of many batches to their union per name, which decides between int64 and string."""

    def expand(self, seen: PCollection) -> PCollection:
        """Combine the flags by name."""
        return of_type(seen, tuple[str, int]) | "either" >> beam.CombinePerKey(_union)


def nothing(pipeline: beam.Pipeline, label: str, kind: object) -> PCollection:
    """An empty collection."""
    return of_type(pipeline | label >> beam.Create([]), kind)
