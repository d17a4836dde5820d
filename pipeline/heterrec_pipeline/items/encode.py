"""Encode the rows of a feature table with what was fitted, and send them on to where they are written."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import EncodedColumn, missing_rows
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.items.place import ToItemShards
from heterrec_pipeline.job import ITEMS, Job, TableJob
from heterrec_pipeline.keys.row_filter import ID, KEY, ExcludedRows, KeyIndex, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW, one_chunk
from heterrec_pipeline.vocabularies.cells import OWNER, LargeCells
from heterrec_pipeline.wiring.reports import RejectedCell, report_count, report_rejects
from heterrec_schemas.feature_spec import CategoricalFeature, Feature, NumericFeature

TOKENS = "tokens"
Tables = dict[str, pa.Table]


def encode_column(feature: Feature, column: pa.Array, fitted: pa.Table) -> EncodedColumn:
    """The tokens of a raw column; a new feature kind is one line here."""
    if isinstance(feature, CategoricalFeature):
        return categorical.encode(feature, column, fitted)
    if isinstance(feature, NumericFeature):
        return numeric.encode(feature, column, fitted)
    return embedding.encode(feature, column, fitted)


def fitted_tables(table: TableJob, fitted: dict[str, Fitted]) -> Tables:
    """The fits of a table's features, load."""
    found = {f.name: fitted[f.name].table for f in table.features}
    return {name: load(t) for name, t in found.items() if t is not None}


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


def encode_item_split(
    job: Job,
    table: TableJob,
    split: Split,
    keys: Any,
    rows_out: Any,
    fitted: dict[str, Fitted],
    *,
    report: bool,
    known: type[KeyIndex | ExcludedRows] = KeyIndex,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Splits of a catalogue table to parts of its tokens: (item shard, part).

    Where the ids of the items are not at hand, (items, tokens with the items' keys as OWNER) go out under `TOKENS`
    instead; the cells of features with a large vocabulary go out under `CELLS` either way.
    """
    large_cells = LargeCells(table, large)
    filter_ = known(keys, rows_out)
    rest = large_cells.rest
    tables = fitted_tables(rest, fitted)
    columns = [f.column for f in table.features]
    names = [f.name for f in rest.features]
    waiting = ToItemShards(job, table.name, filter_.population)
    for rows in kept_rows(table, split, columns, filter_):
        tokens, oov, bad = encode_rows(rest, rows, tables)
        if report:
            yield from report_rejects(table.name, split.file.name, bad)
        for name, count in oov.items():
            yield report_count(f"item/{name}.oov", count)
        texts = rows[KEY].cast(pa.string())
        if filter_.ids is None:
            yield from large_cells.tagged(rows, KEY)
            whole = pa.table([texts, *tokens], names=[OWNER, *names])
            yield TaggedOutput(TOKENS, (ITEMS, whole))
            continue
        yield from large_cells.tagged(rows, ID)
        whole = pa.table([rows[ID], *tokens], names=["item_index", *names])
        if not table.joined:
            whole = whole.add_column(1, "item_id", texts)
        yield from waiting.add(whole)
    yield from waiting.flush()


def encode_user_split(
    table: TableJob,
    split: Split,
    keys: Any,
    rows_out: Any,
    fitted: dict[str, Fitted],
    *,
    known: type[KeyIndex | ExcludedRows] = KeyIndex,
    large: Sequence[str] = (),
) -> Iterator[Any]:
    """Splits of the table of users to tables of user (text) and tokens, and `CELLS`: see `encode_item_split`."""
    large_cells = LargeCells(table, large)
    rest = large_cells.rest
    tables = fitted_tables(rest, fitted)
    columns = [f.column for f in table.features]
    for rows in kept_rows(table, split, columns, known(keys, rows_out)):
        tokens, oov, bad = encode_rows(rest, rows, tables)
        yield from large_cells.tagged(rows, KEY)
        yield from report_rejects(table.name, split.file.name, bad)
        for k, (name, count) in enumerate(oov.items()):
            yield report_count(f"user/{name}.oov", count)
            yield report_count(f"user/{name}.missing", missing_rows(tokens[k]))
        names = ["user", *(f"user_{f.name}" for f in rest.features)]
        yield pa.table([rows[KEY].cast(pa.string()), *tokens], names=names)
