"""List input files as splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from heterrec_pipeline.reading.digests import NotReusedError, Reading, Reuse, take_over
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.wiring.reports import Ledger, report_count, report_file
from heterrec_pipeline.wiring.step import Composite, Step

REUSED_FILES, REUSED_BYTES = "reuse.files", "reuse.bytes"
NOT_REUSED = "reuse.not/"
"""Begin of the counts of files that a refresh parses again, by table and reason."""


@dataclass(eq=False, kw_only=True)
class ListSplits(Composite):
    """The files of a table to splits; in a refresh, those of unchanged files have digests.

    Attributes:
        files: the files.
        ledger: takes the digests as files of the generation, and counts; None if nothing is reused.
        reuse: what is taken over from the parent; None in a build.
        readings: how the files are read.
    """

    files: tuple[InputFile, ...]
    ledger: Ledger | None = None
    reuse: Reuse | None = None
    readings: tuple[Reading, ...] = ()

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Split every file."""
        files = root | "files" >> beam.Create(list(self.files), reshuffle=False)
        if self.reuse is None or not self.readings:
            return files | "split" >> Step(fn=split_file, kind=Split)
        reusing = partial(reuse_splits, self.reuse, self.readings)
        return files | "reuse" >> Step(fn=reusing, ledger=self.ledger, kind=Split, spread=True)


def reuse_splits(reuse: Reuse, readings: tuple[Reading, ...], file: InputFile) -> Iterator[Any]:
    """A file to its splits, with digests if the parent has them."""
    try:
        splits, digests = take_over(reuse, readings, file)
    except NotReusedError as error:
        yield report_count(f"{NOT_REUSED}{readings[0].name}: {error}", 1)
        yield from split_file(file)
        return
    yield report_count(REUSED_FILES, 1)
    yield report_count(REUSED_BYTES, file.bytes)
    yield from (report_file(digest) for digest in digests)
    yield from splits
