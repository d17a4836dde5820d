"""How large tables get from one step to another: through the engine's shuffle, or through files.

Engines that work in this machine's memory hold all that they shuffle: there tables go through files, and only references to
them through the shuffle. Distributed engines have a shuffle of their own that spills. Both give the same bytes, since nothing
that is written depends on the order of a group.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from heterrec_pipeline.files.parts import TableRef, load, store, write_parts
from heterrec_pipeline.job import Job
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.step import Composite, Step, of_type

SPILL_BYTES = 32 * 2**20
DISTRIBUTED = ("DataflowRunner", "FlinkRunner", "SparkRunner")
"""Engines whose shuffle does not live in one machine's memory."""


def store_table(folder: str, stem: str, table: pa.Table) -> Iterator[TableRef]:
    """Tables to `TableRef` references."""
    yield store(folder, stem, table)


@dataclass(eq=False, kw_only=True)
class ByReference(Composite):
    """Tables to references: a side input then holds a path, and a worker loads the table once."""

    job: Job
    stem: str

    def expand(self, tables: PCollection) -> PCollection:
        """Write each table to a part."""
        return tables | "store" >> Step(
            fn=partial(store_table, self.job.parts, self.stem), kind=TableRef
        )


def spill(
    folder: str, stem: str, pieces: list[tuple[Any, pa.Table]]
) -> Iterator[tuple[Any, TableRef]]:
    """Write (key, table) pairs to files of the parts folder, one per schema; yields (key, part)."""
    for alike in _by_schema(pieces):
        path = write_parts(folder, stem, [table for _, table in alike])
        for batch, (key, _) in enumerate(alike):
            yield key, TableRef(0, stem, path, batch)


def _by_schema(pieces: list[tuple[Any, pa.Table]]) -> Iterable[list[tuple[Any, pa.Table]]]:
    """A file has one schema, metadata included."""
    groups: dict[bytes, list[tuple[Any, pa.Table]]] = {}
    for key, table in pieces:
        groups.setdefault(table.schema.serialize().to_pybytes(), []).append((key, table))
    return groups.values()


def _opened(key: Any, part: TableRef) -> tuple[Any, pa.Table]:
    return key, load(part)


@dataclass(eq=False, kw_only=True)
class Exchange(Composite):
    """One or several collections of (key, table), grouped by key: (key, {name: tables or references to them}).

    Whoever takes a group opens each piece with `parts.load`, one after the other where it can.

    Attributes:
        job: says whether tables go through files.
        key: the type of the keys.
        references: the collections that are (key, part) already.
    """

    job: Job
    key: Any = int
    references: tuple[str, ...] = ()

    def expand(self, pieces: dict[str, PCollection]) -> PCollection:
        """Group by key."""
        return {n: self._sent(n, p) for n, p in pieces.items()} | "by key" >> beam.CoGroupByKey()

    def _sent(self, name: str, pieces: PCollection) -> PCollection:
        if not self.job.spill:
            if name in self.references:
                pieces = pieces | f"open {name}" >> beam.MapTuple(_opened)
            return of_type(pieces, tuple[self.key, pa.Table])  # type: ignore[name-defined]
        if name in self.references:
            return of_type(pieces, tuple[self.key, TableRef])  # type: ignore[name-defined]
        spilled = pieces | f"spill {name}" >> beam.ParDo(
            Buffered(partial(spill, self.job.parts, name), SPILL_BYTES)
        )
        return of_type(spilled, tuple[self.key, TableRef])  # type: ignore[name-defined]
