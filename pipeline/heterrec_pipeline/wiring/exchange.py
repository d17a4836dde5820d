"""Exchange of large tables between steps: through the engine's shuffle, or through files.

Engines that shuffle in this machine's memory get references only, and the tables go through files. Distributed engines have
a shuffle that spills. Both give the same bytes, since nothing that is written depends on the order of a group.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import PCollection

from heterrec_pipeline.files.parts import TableRef, load, store, write_parts
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.step import Composite, Step, of_type

SPILL_BYTES = 32 * 2**20
"""Bytes of tables that are buffered before they are written to a file."""
DISTRIBUTED = ("DataflowRunner", "FlinkRunner", "SparkRunner")
"""Engines whose shuffle is not limited to one machine's memory."""


def spills(options: PipelineOptions) -> bool:
    """Whether the engine that the options name shuffles in memory, so that tables go through files."""
    runner = str(options.view_as(StandardOptions).runner)
    return runner.rpartition(".")[2] not in DISTRIBUTED


class ExchangeFolder(Protocol):
    """The part of a job that decides how its tables are exchanged."""

    @property
    def spill(self) -> bool:
        """Whether tables go through files rather than through the engine's shuffle."""

    @property
    def parts(self) -> str:
        """The folder of these files."""


def store_table(folder: str, stem: str, table: pa.Table) -> Iterator[TableRef]:
    """A table to a reference."""
    yield store(folder, stem, table)


@dataclass(eq=False, kw_only=True)
class ByReference(Composite):
    """Tables to references: a side input then contains a path, and a worker loads the table once."""

    job: ExchangeFolder
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


def _loaded(key: Any, part: TableRef) -> tuple[Any, pa.Table]:
    return key, load(part)


@dataclass(eq=False, kw_only=True)
class Exchange(Composite):
    """One or more collections of (key, table), grouped by key: (key, {name: tables or references}).

    The next step loads each piece with `parts.load`, one at a time where possible.

    Attributes:
        job: the build; `job.spill` decides whether tables go through files.
        key: the type of the keys.
        references: names of the collections that are (key, reference) already.
    """

    job: ExchangeFolder
    key: Any = int
    references: tuple[str, ...] = ()

    def expand(self, pieces: dict[str, PCollection]) -> PCollection:
        """Group by key."""
        return {n: self._sent(n, p) for n, p in pieces.items()} | "by key" >> beam.CoGroupByKey()

    def _sent(self, name: str, pieces: PCollection) -> PCollection:
        if not self.job.spill:
            if name in self.references:
                pieces = pieces | f"open {name}" >> beam.MapTuple(_loaded)
            return of_type(pieces, tuple[self.key, pa.Table])  # type: ignore[name-defined]
        if name in self.references:
            return of_type(pieces, tuple[self.key, TableRef])  # type: ignore[name-defined]
        spilled = pieces | f"spill {name}" >> beam.ParDo(
            Buffered(partial(spill, self.job.parts, name), SPILL_BYTES)
        )
        return of_type(spilled, tuple[self.key, TableRef])  # type: ignore[name-defined]
