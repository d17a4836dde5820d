"""List input files as splits."""

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PCollection

from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.wiring.step import Composite, Step


@dataclass(eq=False, kw_only=True)
class ListSplits(Composite):
    """The files of a table to splits."""

    files: tuple[InputFile, ...]

    def expand(self, root: beam.Pipeline) -> PCollection:
        """Split every file."""
        return (
            root
            | "files" >> beam.Create(list(self.files), reshuffle=False)
            | "split" >> Step(fn=split_file, kind=Split)
        )
