"""Encode the rows of a feature table with what was fitted, and send them on to where they are written."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.catalogue.rows import ID, KEY, ROW, Known, kept_rows
from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import Encoded
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import RejectedCell, counted, rejected
from heterrec_pipeline.publishing.parts import Part, Stored, opened, write_parts
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import one_chunk
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.spec import CategoricalFeature, Feature, NumericFeature

PART_BYTES = 64 * 2**20
Tables = dict[str, pa.Table]


class Fitted(NamedTuple):
    """What a feature was fitted to: a table, as a rule by reference, and the number that says how many ids there are.

    Attributes:
        table: the vocabulary, the edges or the quantizer.
        size: the largest id + 1 of a vocabulary (0 when it is empty); of the others, the rows of the table.
    """

    table: pa.Table | Stored
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
    return {f.name: opened(fitted[f.name].table) for f in table.features}


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
    """Splits of a catalogue table to parts of its tokens: (item shard, part)."""

    def __init__(self, job: Job, table: TableJob, *, report: bool) -> None:
        """Encode one table; bad cells of rows out of the log (`report` false) were recorded there."""
        self.job, self.table, self.report = job, table, report

    @carried
    def process(
        self,
        split: Split,
        index: pa.Table | Stored,
        losers: pa.Table | Stored,
        fitted: dict[str, Fitted],
    ) -> Iterator[Any]:
        """Encode one split."""
        known = Known(index, losers)
        tables = fitted_tables(self.table, fitted)
        columns = [f.column for f in self.table.features]
        waiting: list[pa.Table] = []
        for rows in kept_rows(self.table, split, columns, known):
            METER.enter(f"encoding {self.table.name}")
            tokens, oov, bad = encode_rows(self.table, rows, tables)
            if self.report:
                yield from rejected(self.table.name, split.file.name, bad)
            for name, count in oov.items():
                yield counted(f"item/{name}.oov", count)
            names = ["item_index", *(f.name for f in self.table.features)]
            table = pa.table([rows[ID], *tokens], names=names)
            if not self.table.joined:
                table = table.add_column(1, "item_id", rows[KEY].cast(pa.string()))
            waiting.append(table)
            if sum(t.nbytes for t in waiting) >= PART_BYTES:
                yield from self._hand_on(waiting, known.population)
                waiting = []
        yield from self._hand_on(waiting, known.population)

    def _hand_on(self, tables: list[pa.Table], population: int) -> Iterator[tuple[int, Part]]:
        if not tables:
            return
        whole = pa.concat_tables(tables).combine_chunks()
        whole = whole.take(pa.array(np.argsort(whole["item_index"].to_numpy(), kind="stable")))
        count = self.job.spec.output.item_shards
        cuts = self.job.spec.first_item_index + item_cuts(population, count)
        at = np.searchsorted(whole["item_index"].to_numpy(), cuts)
        shards = [s for s in range(count) if at[s + 1] > at[s]]
        pieces = [whole.slice(at[s], at[s + 1] - at[s]) for s in shards]
        stem = self.table.name.replace("[", "-").replace("]", "")
        path = write_parts(self.job.parts, stem, pieces)
        for batch, shard in enumerate(shards):
            yield shard, Part(0, self.table.name, path, batch)


def item_cuts(population: int, shards: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where item shards begin, by position: [shards + 1]; sizes differ by one at most."""
    return population * np.arange(shards + 1, dtype=np.int64) // shards


class EncodeUsers(beam.DoFn):
    """Splits of the table of users to tables of user (text) and tokens."""

    def __init__(self, table: TableJob) -> None:
        """Encode the table of users."""
        self.table = table

    @carried
    def process(
        self,
        split: Split,
        index: pa.Table | Stored,
        losers: pa.Table | Stored,
        fitted: dict[str, Fitted],
    ) -> Iterator[Any]:
        """Encode one split."""
        tables = fitted_tables(self.table, fitted)
        columns = [f.column for f in self.table.features]
        for rows in kept_rows(self.table, split, columns, Known(index, losers)):
            METER.enter("encoding users")
            tokens, oov, bad = encode_rows(self.table, rows, tables)
            yield from rejected(self.table.name, split.file.name, bad)
            for k, (name, count) in enumerate(oov.items()):
                yield counted(f"user/{name}.oov", count)
                yield counted(f"user/{name}.missing", missing_rows(tokens[k]))
            names = ["user", *(f"user_{f.name}" for f in self.table.features)]
            yield pa.table([rows[KEY].cast(pa.string()), *tokens], names=names)


def missing_rows(tokens: pa.Array) -> int:
    """How many rows of a token column are missing: their first token is 1."""
    if pa.types.is_list(tokens.type):
        firsts = pl.Series(tokens).list.first()
    elif pa.types.is_fixed_size_list(tokens.type):
        width = tokens.type.list_size
        firsts = pl.Series(tokens.flatten()).gather_every(width)
    else:
        firsts = pl.Series(tokens)
    return int((firsts == 1).sum())
