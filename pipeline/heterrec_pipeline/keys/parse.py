"""The parsed rows of a feature table: from its files, or from digests of an earlier generation."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.embedding import Quantizer
from heterrec_pipeline.features.kinds import kind_of
from heterrec_pipeline.files.rejects import RejectedCell
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.keys.row_filter import ExcludedRows, excluded_rows, kept_rows
from heterrec_pipeline.reading.digests import digest_of, digested
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW, bad_text_cells, without_rows
from heterrec_schemas.feature_spec import EmbeddingFeature

KINDS = "kinds"
"""Key of a digest's reports: feature to kinds of its values."""


class ParsedRows(NamedTuple):
    """A batch of parsed rows.

    Attributes:
        rows: ROW, KEY and a column per feature with its name: parsed cells, or the tokens of embeddings.
        kinds: the kinds of the values of categorical features.
        bad: the bad cells.
        erased: whether a value was left out because the spec erases it.
    """

    rows: pa.RecordBatch
    kinds: dict[str, int]
    bad: list[RejectedCell]
    erased: bool


def parse_rows(
    table: TableJob, rows: pa.RecordBatch, quantizers: Mapping[str, Quantizer]
) -> ParsedRows:
    """Parse located rows with a key; `quantizers` are those of the table's embeddings."""
    numbers = rows[ROW].to_numpy()
    names, columns = [ROW, KEY], [rows[ROW], rows[KEY]]
    kinds: dict[str, int] = {}
    bad: list[RejectedCell] = []
    erased = False
    for feature in table.features:
        kind = kind_of(feature)
        parsed = kind.parse(feature, rows[feature.column])
        values = parsed.values
        if isinstance(feature, EmbeddingFeature):
            tokens = kind.encode(feature, values, quantizers[feature.name]).tokens
            values = _with_values(tokens, _narrow(feature))
        elif feature.kind == "categorical":
            kinds[feature.name] = int(parsed.seen)
        names.append(feature.name)
        columns.append(values)
        bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in parsed.bad]
        erased |= parsed.erased
    bad += bad_text_cells(rows, [f.column for f in table.features])
    return ParsedRows(pa.RecordBatch.from_arrays(columns, names=names), kinds, bad, erased)


def _narrow(feature: EmbeddingFeature) -> pa.DataType:
    """The smallest type that holds the feature's tokens."""
    largest = feature.code_count + 1
    return pa.uint8() if largest < 2**8 else pa.uint16() if largest < 2**16 else pa.int32()


def _with_values(tokens: pa.FixedSizeListArray, kind: pa.DataType) -> pa.FixedSizeListArray:
    values = tokens.flatten().cast(kind)
    return pa.FixedSizeListArray.from_arrays(values, tokens.type.list_size)


def embedding_cells(values: pa.Array) -> pa.Array:
    """The tokens of an embedding in parsed rows, with the type of the tables."""
    return _with_values(values, pa.int32())


def value_rows(table: TableJob, split: Split, excluded: ExcludedRows) -> Iterator[ParsedRows]:
    """The kept rows of a split with the features that are fitted from values."""
    numbers = excluded_rows(table, split, excluded)
    path = digest_of(split, table.reading)
    if path is not None and _kinds_are_known(table, path, numbers):
        for rows, about in digested(path):
            kept = without_rows(rows, numbers)
            if kept.num_rows:
                yield ParsedRows(kept, about[KINDS], [], erased=False)
        return
    columns = list(dict.fromkeys(f.column for f in table.features))
    for rows in kept_rows(table, split, columns, excluded):
        yield parse_rows(table, rows, {})


def _kinds_are_known(table: TableJob, path: str, excluded: pl.Series) -> bool:
    """Whether the kinds that a digest has noted for its batches hold for the kept rows too.

    They do where no row of a batch is excluded, or where all values are of one kind and one of them is kept.
    """
    if excluded.is_empty():
        return True
    names = {f.name for f in table.features}
    for rows, about in digested(path):
        kept = without_rows(rows, excluded)
        if len(kept) == len(rows):
            continue
        for name, kinds in about[KINDS].items():
            if name in names and kinds and (kinds & (kinds - 1) or not _has_values(kept[name])):
                return False
    return True


def _has_values(column: pa.Array) -> bool:
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return bool(len(flat) > flat.null_count)


def bad_of(parsed: ParsedRows, kept: pa.RecordBatch) -> list[RejectedCell]:
    """The bad cells of the kept rows."""
    if not parsed.bad or len(kept) == len(parsed.rows):
        return parsed.bad
    numbers = set(np.asarray(kept[ROW]).tolist())
    return [cell for cell in parsed.bad if cell[0] in numbers]
