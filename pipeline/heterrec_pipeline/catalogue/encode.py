"""Encode the rows of a feature table with what was fitted, and send them on to where they are written."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.catalogue.long import OWNER, LargeCells
from heterrec_pipeline.catalogue.rows import ID, KEY, ROW, Known, Spared, kept_rows
from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import Encoded, missing_rows
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import RejectedCell, counted, rejected
from heterrec_pipeline.publishing.parts import Part, Stored, opened, write_parts
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import one_chunk
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.spec import CategoricalFeature, Feature, NumericFeature

PART_BYTES = 64 * 2**20
TOKENS = "tokens"
Tables = dict[str, pa.Table]


class Fitted(NamedTuple):
    """What a feature was fitted to: a table, as a rule by reference, and the number that says how many ids there are.

    Attributes:
        table: the vocabulary, the edges or the quantizer; None for a large vocabulary, which is looked up by bucket.
        size: the largest id + 1 of a vocabulary (0 when it is empty); of the others, the rows of the table.
    """

    table: pa.Table | Stored | None
    size: int


def encode_column(feature: Feature, column: pa.Array, fitted: pa.Table) -> Encoded:
    """The tokens of a raw column; a new feature kind is one line here."""
    if isinstance(feature, CategoricalFeature):
        return categorical.encode(feature, column, fitted)
    if isinstance(feature, NumericFeature):
        return numeric.encode(feature, column, fitted)
    return embedding.encode(feature, column, fitted)


def fitted_tables(table: TableJob, fitted: dict[str, Fitted]) -> Tables:
    """The fits of a table's features, opened."""
    found = {f.name: fitted[f.name].table for f in table.features}
    return {name: opened(t) for name, t in found.items() if t is not None}


def encode_rows(
    table: TableJob, rows: pa.Table, fitted: Tables
) -> tuple[list[pa.Array], dict[str, int], list[RejectedCell]]:
    """The tokens of a batch.

    Returns:
        A token column a feature, how many rows were out of vocabulary a feature, and the bad cells by row number.
    """
    numbers = rows[ROW].to_numpy()
    columns, oov, bad = [], {}, []
    for feature in table.features:
        encoded = encode_column(feature, one_chunk(rows, feature.column), fitted[feature.name])
        columns.append(encoded.tokens)
        oov[feature.name] = encoded.oov_rows
        bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in encoded.bad]
    return columns, oov, bad


class EncodeItems(beam.DoFn):
    """Splits of a catalogue table to parts of its tokens: (item shard, part).

    Where the ids of the items are not at hand, (items, tokens with the items' keys as OWNER) go out under `TOKENS`
    instead; the cells of features with a large vocabulary go out under `CELLS` either way.
    """

    def __init__(
        self,
        job: Job,
        table: TableJob,
        *,
        report: bool,
        known: type[Known | Spared] = Known,
        large: Sequence[str] = (),
    ) -> None:
        """Encode one table.

        Args:
            job: the build.
            table: the table.
            report: whether bad cells are recorded; those of rows out of the log were recorded there.
            known: made of the first two side inputs.
            large: the side's features with a large vocabulary.
        """
        self.job, self.report, self.known = job, report, known
        self.table, self.large = table, LargeCells(table, large)

    @carried
    def process(
        self, split: Split, keys: Any, rows_out: Any, fitted: dict[str, Fitted]
    ) -> Iterator[Any]:
        """Encode one split."""
        known = self.known(keys, rows_out)
        rest = self.large.rest
        tables = fitted_tables(rest, fitted)
        columns = [f.column for f in self.table.features]
        names = [f.name for f in rest.features]
        waiting = ToItemShards(self.job, self.table.name, known.population)
        for rows in kept_rows(self.table, split, columns, known):
            METER.enter(f"encoding {self.table.name}")
            tokens, oov, bad = encode_rows(rest, rows, tables)
            if self.report:
                yield from rejected(self.table.name, split.file.name, bad)
            for name, count in oov.items():
                yield counted(f"item/{name}.oov", count)
            texts = rows[KEY].cast(pa.string())
            if known.ids is None:
                yield from self.large.tagged(rows, KEY)
                whole = pa.table([texts, *tokens], names=[OWNER, *names])
                yield TaggedOutput(TOKENS, (ITEMS, whole))
                continue
            yield from self.large.tagged(rows, ID)
            whole = pa.table([rows[ID], *tokens], names=["item_index", *names])
            if not self.table.joined:
                whole = whole.add_column(1, "item_id", texts)
            yield from waiting.add(whole)
        yield from waiting.flush()


class ToItemShards:
    """Tables with a column item_index until there are enough for a file; then (item shard, part)."""

    def __init__(self, job: Job, name: str, population: int) -> None:
        """Wait for parts of one table of the job."""
        self.job, self.name, self.population = job, name, population
        self.waiting: list[pa.Table] = []
        self.bytes = 0

    def add(self, table: pa.Table) -> Iterator[tuple[int, Part]]:
        """Add rows."""
        self.waiting.append(table)
        self.bytes += table.nbytes
        if self.bytes >= PART_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, Part]]:
        """Write what waits, a batch a shard."""
        tables, self.waiting, self.bytes = self.waiting, [], 0
        if not tables:
            return
        whole = pa.concat_tables(tables).combine_chunks()
        whole = whole.take(pa.array(np.argsort(whole["item_index"].to_numpy(), kind="stable")))
        count = self.job.spec.output.item_shards
        cuts = self.job.spec.first_item_index + item_cuts(self.population, count)
        at = np.searchsorted(whole["item_index"].to_numpy(), cuts)
        shards = [s for s in range(count) if at[s + 1] > at[s]]
        if not shards:
            return
        pieces = [whole.slice(at[s], at[s + 1] - at[s]) for s in shards]
        stem = self.name.replace("[", "-").replace("]", "").replace("/", "-")
        path = write_parts(self.job.parts, stem, pieces)
        for batch, shard in enumerate(shards):
            yield shard, Part(0, self.name, path, batch)


def item_cuts(population: int, shards: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where item shards begin, by position: [shards + 1]; sizes differ by one at most."""
    return population * np.arange(shards + 1, dtype=np.int64) // shards


class EncodeUsers(beam.DoFn):
    """Splits of the table of users to tables of user (text) and tokens, and `CELLS`: see `EncodeItems`."""

    def __init__(
        self, table: TableJob, known: type[Known | Spared] = Known, large: Sequence[str] = ()
    ) -> None:
        """Encode the table of users; see `EncodeItems`."""
        self.table, self.known, self.large = table, known, LargeCells(table, large)

    @carried
    def process(
        self, split: Split, keys: Any, rows_out: Any, fitted: dict[str, Fitted]
    ) -> Iterator[Any]:
        """Encode one split."""
        rest = self.large.rest
        tables = fitted_tables(rest, fitted)
        columns = [f.column for f in self.table.features]
        for rows in kept_rows(self.table, split, columns, self.known(keys, rows_out)):
            METER.enter("encoding users")
            tokens, oov, bad = encode_rows(rest, rows, tables)
            yield from self.large.tagged(rows, KEY)
            yield from rejected(self.table.name, split.file.name, bad)
            for k, (name, count) in enumerate(oov.items()):
                yield counted(f"user/{name}.oov", count)
                yield counted(f"user/{name}.missing", missing_rows(tokens[k]))
            names = ["user", *(f"user_{f.name}" for f in rest.features)]
            yield pa.table([rows[KEY].cast(pa.string()), *tokens], names=names)
