"""Encode the rows of a feature table with the fitted features, and send the tokens to where they are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.features.embedding import Quantizer
from heterrec_pipeline.features.fitted import Fitted, load_reduction
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.times import AVAILABLE_FROM, optional_times
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.place import PartBuffer
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.keys.parse import (
    KINDS,
    ParsedRows,
    bad_of,
    embedding_cells,
    parse_rows,
)
from heterrec_pipeline.keys.read import KEY, about_keys, keyed_batches, rejected, shortened
from heterrec_pipeline.keys.row_filter import ExcludedRows, excluded_rows
from heterrec_pipeline.reading.digests import Digested, DigestWriter, digest_of, digested
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells, without_rows
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.cells import OWNER, LargeCells
from heterrec_pipeline.vocabularies.lookup import lookups
from heterrec_pipeline.wiring.cut import BucketKey
from heterrec_pipeline.wiring.reports import report_count, report_file, report_rejects
from heterrec_schemas.feature_spec import EmbeddingFeature

ID = "__id"
AVAILABLE = "__available_from"
"""Column of a part: time in ms since when an item is listed, null if unknown; if the spec declares it."""
TOKENS = "tokens"
StoredIds = Iterable[tuple[BucketKey, TableRef]]
"""The stored ids of the vocabularies that each worker holds in memory."""


def encoders(table: TableJob, fitted: dict[str, Fitted], ids: dict[str, Lookup]) -> dict[str, Any]:
    """The argument `fitted` of each feature's `encode`: a fitted table, a quantizer, or the lookup of a vocabulary."""
    arguments: dict[str, Any] = {}
    for feature in table.features:
        stored, index = fitted[feature.name].table, ids.get(f"{table.side}/{feature.name}")
        if isinstance(feature, EmbeddingFeature):
            arguments[feature.name] = _quantizer(feature, fitted)
        elif stored is not None:
            arguments[feature.name] = load(stored)
        else:
            arguments[feature.name] = (index or Lookup.empty()).find
    return arguments


def _quantizer(feature: EmbeddingFeature, fitted: dict[str, Fitted]) -> Quantizer:
    return Quantizer(load(fitted[feature.name].table), load_reduction(feature, fitted))


def encode_rows(
    table: TableJob, rows: pa.RecordBatch, fitted: dict[str, Any]
) -> tuple[list[pa.Array], dict[str, int]]:
    """Encode a batch.

    Args:
        table: the table, with the features to encode.
        rows: parsed rows of it.
        fitted: see `encoders`.

    Returns:
        One token column per feature, and the number of rows out of vocabulary per feature.
    """
    columns, oov = [], {}
    for feature in table.features:
        values = rows[feature.name]
        if isinstance(feature, EmbeddingFeature):
            columns.append(embedding_cells(values))
            oov[feature.name] = 0
            continue
        encoded = kind_of(feature).encode(feature, values, fitted[feature.name])
        columns.append(encoded.tokens)
        oov[feature.name] = encoded.oov_rows
    return columns, oov


def table_rows(
    table: TableJob, split: Split, quantizers: Mapping[str, Quantizer], writer: DigestWriter
) -> Iterator[ParsedRows]:
    """All rows of a split that have a key, parsed or from its digest.

    Args:
        table: the table.
        split: a piece of it.
        quantizers: the quantizers of its embeddings.
        writer: writes the digest of a split that has none.
    """
    path = digest_of(split, table.reading)
    if path is not None:
        for rows, about in digested(path):
            yield ParsedRows(rows, about[KINDS], rejected(about["cells"]), erased=False)
        return
    for batch in keyed_batches(table, split, table.value_columns):
        parsed = parse_rows(table, batch.rows, quantizers)
        if (listed := table.available_from) is not None:
            times, cells = optional_times(batch.rows[listed.column], listed, AVAILABLE_FROM)
            numbers = batch.rows[ROW].to_numpy()
            parsed.bad.extend(
                (int(numbers[c.position]), listed.column, c.reason, c.value) for c in cells
            )
            if listed.column not in [f.column for f in table.features]:
                parsed.bad.extend(bad_text_cells(batch.rows, [listed.column]))
            rows = parsed.rows.append_column(AVAILABLE, times.to_arrow())
            parsed = parsed._replace(rows=rows)
        parsed = parsed._replace(bad=table.rejects.told(parsed.bad))
        about = about_keys(batch) | {KINDS: parsed.kinds, "cells": shortened(parsed.bad)}
        # Of rejects, what may name an erased text was left out; without the list it would be there.
        masked = bool(table.gate) and bool(batch.bad or parsed.bad)
        writer.add(
            Digested(parsed.rows, about), erased=bool(batch.erased) or parsed.erased or masked
        )
        yield parsed


def kept_of_table(
    table: TableJob,
    split: Split,
    excluded: ExcludedRows,
    quantizers: Mapping[str, Quantizer],
    writer: DigestWriter,
) -> Iterator[tuple[ParsedRows, pa.RecordBatch]]:
    """The batches of `table_rows` that have rows to keep, each with these rows."""
    numbers = excluded_rows(table, split, excluded)
    for parsed in table_rows(table, split, quantizers, writer):
        rows = without_rows(parsed.rows, numbers)
        if rows.num_rows:
            yield parsed, rows


def encode_items(
    job: Job,
    table: TableJob,
    split: Split,
    cuts: ItemCuts,
    excluded: ExcludedRows,
    fitted: dict[str, Fitted],
    stored: StoredIds,
    *,
    report: bool,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Encode a split of a catalogue table.

    Args:
        job: the build.
        table: the table.
        split: a piece of it.
        cuts: the borders of item shards.
        excluded: rows that do not count.
        fitted: the fitted features.
        stored: the ids held in memory.
        report: whether bad cells are reported; those of rows made from the log were reported there.
        large: names of the side's features whose values are looked up by bucket.

    Yields:
        (item shard, stored tokens). Where the ids of the items are not in memory, (items, tokens with the items' keys as
        OWNER) tagged `TOKENS` instead. The values of features in `large`, tagged `CELLS`. The digest of the split, tagged
        as a file.
    """
    large_cells = LargeCells(table, large)
    rest = large_cells.rest
    ids = lookups(stored)
    tables = encoders(rest, fitted, ids)
    names = [f.name for f in rest.features] + ([AVAILABLE] if table.available_from else [])
    buffer = PartBuffer(job, table.name, cuts.items)
    writer = DigestWriter(job.root, table.reading, split)
    for parsed, rows in kept_of_table(table, split, excluded, tables, writer):
        tokens, oov = encode_rows(rest, rows, tables)
        if table.available_from is not None:
            tokens.append(rows[AVAILABLE])
        if report:
            yield from report_rejects(table.name, split.file.name, bad_of(parsed, rows))
        for name, count in oov.items():
            yield report_count(f"item/{name}.oov", count)
        texts = rows[KEY].cast(pa.string())
        if ITEMS not in ids:
            yield from large_cells.tagged(rows, KEY)
            yield TaggedOutput(TOKENS, (ITEMS, pa.table([texts, *tokens], names=[OWNER, *names])))
            continue
        index = ids[ITEMS].find(pl.Series(rows[KEY])).to_arrow()
        yield from large_cells.tagged(rows.append_column(ID, index), ID)
        encoded = pa.table([index, *tokens], names=["item_index", *names])
        if not table.joined:
            encoded = encoded.add_column(1, "item_id", texts)
        yield from buffer.add(encoded)
    yield from buffer.flush()
    yield from (report_file(file) for file in writer.finish())


def encode_users(
    job: Job,
    table: TableJob,
    split: Split,
    excluded: ExcludedRows,
    fitted: dict[str, Fitted],
    stored: StoredIds,
    *,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Encode a split of the table of users: tables of user (text) and tokens, and `CELLS`; see `encode_items`."""
    large_cells = LargeCells(table, large)
    rest = large_cells.rest
    tables = encoders(rest, fitted, lookups(stored))
    names = ["user", *(f"user_{f.name}" for f in rest.features)]
    writer = DigestWriter(job.root, table.reading, split)
    for parsed, rows in kept_of_table(table, split, excluded, tables, writer):
        tokens, oov = encode_rows(rest, rows, tables)
        yield from large_cells.tagged(rows, KEY)
        yield from report_rejects(table.name, split.file.name, bad_of(parsed, rows))
        for k, (name, count) in enumerate(oov.items()):
            yield report_count(f"user/{name}.oov", count)
            yield report_count(f"user/{name}.missing", missing_rows(tokens[k]))
        yield pa.table([rows[KEY].cast(pa.string()), *tokens], names=names)
    yield from (report_file(file) for file in writer.finish())
