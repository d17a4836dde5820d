"""The reports of steps: counts, rejects and files, collected for the manifest."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import apache_beam as beam
import pyarrow as pa

from heterrec_pipeline.files.rejects import RejectedCell
from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.rejects import REJECTS_SCHEMA, VALUE_CHARACTERS

COUNTS = "counts"
REJECTS = "rejects"
FILES = "files"


def report_count(name: str, value: int) -> beam.pvalue.TaggedOutput:
    """Report a count for the manifest, and record it."""
    RECORDER.count(name, value)
    return beam.pvalue.TaggedOutput(COUNTS, (name, value))


def quiet_count(name: str, value: int) -> beam.pvalue.TaggedOutput:
    """Report a count of the statistics, which no display shows."""
    return beam.pvalue.TaggedOutput(COUNTS, (name, value))


def report_rejects(
    source: str, file: str, rows: Iterable[RejectedCell]
) -> Iterator[beam.pvalue.TaggedOutput]:
    """Report rejected rows or cells; yields nothing if there are none."""
    rows = list(rows)
    if not rows:
        return
    numbers, columns, reasons, values = zip(*rows, strict=True)
    for reason, entries in Counter(reasons).items():
        RECORDER.count(f"rejects.{reason}", entries)
    table = pa.table(
        [
            pa.array([source] * len(rows), pa.string()),
            pa.array([file] * len(rows), pa.string()),
            pa.array(numbers, pa.int64()),
            pa.array(columns, pa.string()),
            pa.array([str(r) for r in reasons], pa.string()),
            pa.array([None if v is None else v[:VALUE_CHARACTERS] for v in values], pa.string()),
        ],
        schema=REJECTS_SCHEMA,
    )
    yield beam.pvalue.TaggedOutput(REJECTS, table)


def report_file(file: Written) -> beam.pvalue.TaggedOutput:
    """Report a file for the manifest."""
    count_file(file)
    return beam.pvalue.TaggedOutput(FILES, file)


def count_file(file: Written) -> None:
    """Record a file of the manifest."""
    RECORDER.count("files.count", 1)
    RECORDER.count("files.rows", max(file.rows, 0))
    RECORDER.count("files.bytes", file.bytes)


@dataclass
class Ledger:
    """The reports of all steps, collected while the graph is constructed."""

    outputs: dict[str, list[beam.PCollection]] = field(
        default_factory=lambda: {COUNTS: [], REJECTS: [], FILES: []}
    )

    def take(
        self, counts: beam.PCollection, rejects: beam.PCollection, files: beam.PCollection
    ) -> None:
        """Add the reports of a step."""
        self.outputs[COUNTS].append(counts)
        self.outputs[REJECTS].append(rejects)
        self.outputs[FILES].append(files)

    def all(self, tag: str) -> beam.PCollection:
        """Every report of one kind."""
        return tuple(self.outputs[tag]) | f"all {tag}" >> beam.Flatten()
