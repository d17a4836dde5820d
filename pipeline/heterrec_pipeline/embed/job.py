"""An embedding run as plain data, which travels to the workers."""

from dataclasses import dataclass

from heterrec_pipeline.embed.config import EmbedConfig, EmbeddedColumn
from heterrec_pipeline.embed.models import EmbeddingModel, EncoderLoader
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.sizing import MAX_BUCKETS

SUMMARY = "embedding.json"
BUCKET_BYTES = 16 * 2**20
"""Bytes of the item table per bucket of keys or hashes; a bucket then takes about 100 MB of memory at most."""


@dataclass(frozen=True)
class EmbedJob:
    """An embedding run.

    Attributes:
        config: its configuration, with paths as the workers see them.
        files: the files of the item table.
        model: the resolved model.
        load: loads the model on a worker; picklable.
        spill: whether tables pass between steps through files in `parts` rather than the engine's shuffle.
    """

    config: EmbedConfig
    files: tuple[InputFile, ...]
    model: EmbeddingModel
    load: EncoderLoader
    spill: bool = True

    @property
    def parts(self) -> str:
        """The folder of the tables that pass between steps; deleted at the end of the run."""
        return storage.join(self.config.output, ".parts")

    @property
    def read_columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys([self.config.key, *(c.name for c in self.config.columns)]))

    @property
    def buckets(self) -> int:
        """Number of buckets for the keys and the hashes of a column; does not affect the output."""
        return min(MAX_BUCKETS, 1 + sum(f.bytes for f in self.files) // BUCKET_BYTES)

    def column(self, name: str) -> EmbeddedColumn:
        """An embedded column by its name."""
        return next(c for c in self.config.columns if c.name == name)


@dataclass(frozen=True)
class ShardPlan:
    """Findings of the first read.

    Attributes:
        rows: number of rows of the item table.
        integral: whether keys are stored as int64.
        shards: number of shards by column.
        missing: by column, number of rows with a key but no content.
        losers: a table of column, key and hash: contents of keys that also have one of a smaller hash.
    """

    rows: int
    integral: bool
    shards: dict[str, int]
    missing: dict[str, int]
    losers: TableRef
