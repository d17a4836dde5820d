"""Items that come out of the log: some of them whole, aggregated as a build would."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.features import embedding, numeric
from heterrec_pipeline.items.from_log import (
    ITEM,
    aggregate,
    aggregate_columns,
    concatenated,
    derived,
    readable_rows,
)
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.row_filter import KEY
from heterrec_pipeline.planning.one_table import ID, KeyIndex, KeyRules, number_keys
from heterrec_pipeline.planning.sampling.blocks import SAMPLE_BYTES, Block, batches, reach
from heterrec_pipeline.planning.sampling.estimates import Estimate, Fraction, Tally, distinct
from heterrec_pipeline.planning.sampling.rows import Rows
from heterrec_pipeline.planning.sampling.thinning import Thinned
from heterrec_pipeline.planning.survey.tables import Keys, TableSurvey, stretched, surveyed
from heterrec_pipeline.reading.read import ROW, located, one_chunk
from heterrec_schemas.feature_spec import EmbeddingFeature, NumericFeature
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import Seen

SLICES = 64
"""Items that a hash chose are dealt out to so many blocks: each had the same chance."""


def survey_derived(
    job: Job, rules: KeyRules, budget: int | None = SAMPLE_BYTES
) -> tuple[TableSurvey, Counter[Reason], int]:
    """Read the columns of the log that items are made of.

    Returns:
        The items; cells of the log that cannot be used, by reason, over all its rows; and the bytes that a row has in the
        shuffle by item.
    """
    columns = aggregate_columns(job.spec, job.items)
    got = reach(job.log, columns, budget)
    # With all of the log read, all items are kept whole where nothing bounds the reading.
    sample = Thinned(ITEM, budget)
    tally, reasons, seen, rows, size = Tally(), Counter[Reason](), 0, 0, 0
    for piece in (p for block in got.blocks for p in _pieces(job, block, columns)):
        hashes = []
        for found, kinds, bad in piece:
            seen |= kinds
            reasons.update(bad)
            rows += len(found)
            found = found.drop_columns([ROW])
            size += found.nbytes
            hashes.append(sample.add(found))
        if hashes:
            tally.add(np.concatenate(hashes))
    part = got.part(rows)
    share = 1.0 if got.whole or not got.rows else got.rows / max(1, rows)
    every = distinct(*tally.incidence(), part)
    table = derived(job.items)
    whole = aggregate(job.items, concatenated(sample.tables)) if sample.tables else None
    keys, memory = _numbered(whole, every, Seen(seen), rules, part.whole and sample.whole)
    slices = 1 if keys.whole else min(SLICES, max(1, len(keys.index)))
    of = max(slices, round(slices * every.value / max(1, len(keys.index))))
    items = Fraction(slices, of, every.high - len(keys.index), fair=part.whole)
    if keys.whole:
        items = Fraction(1, 1, 0)
    source = Rows(table, items, KeyIndex(keys.index, keys.losers), len(keys.index), memory=memory)
    nothing = Estimate.exactly(0)
    items_found = surveyed(table, keys, source, nothing, nothing)
    scaled = Counter({r: round(n * share) for r, n in reasons.items()})
    return items_found, scaled, round(size / max(1, rows))


def _pieces(
    job: Job, block: Block, columns: list[str]
) -> Iterator[Iterator[tuple[pa.Table, int, list[Reason]]]]:
    """Of each batch, the readable rows, the kinds of keys, and why cells cannot be used."""
    for piece in batches(block, columns):
        yield (_readable(job, located(b, block.split)) for b in piece if len(b.table))


def _readable(job: Job, rows: pa.Table) -> tuple[pa.Table, int, list[Reason]]:
    found, kinds = readable_rows(job.spec, job.items, rows)
    return found, kinds, _bad_cells(job.items, found)


def _bad_cells(table: TableJob, rows: pa.Table) -> list[Reason]:
    """Why cells of numbers and vectors cannot be used."""
    bad: list[Reason] = []
    for feature in table.features:
        column = one_chunk(rows, feature.column)
        if isinstance(feature, NumericFeature):
            bad += [c.reason for c in numeric.numbers(feature, column)[1]]
        elif isinstance(feature, EmbeddingFeature):
            bad += [c.reason for c in embedding.vectors(feature, column)[2]]
    return bad


def _numbered(
    rows: pa.Table | None, every: Estimate, seen: Seen, rules: KeyRules, whole: bool
) -> tuple[Keys, pa.Table]:
    """The keys of the items that were aggregated, and their rows with ids, in the order of their hashes."""
    if rows is None:
        rows = pa.table({ITEM: pa.array([], pa.string())})
    index, _ = number_keys([rows.select([ITEM]).rename_columns(["key"])], seen.integral, rules)
    if not whole:
        index = stretched(index, every.value)
    part = Fraction(1, 1, 0) if whole else Fraction(1, 2, every.high - len(index), fair=False)
    ids = pl.DataFrame({"key": pl.Series(rows[ITEM]).cast(pl.String)}).join(
        pl.DataFrame(pl.from_arrow(index)), on="key", how="left", maintain_order="left"
    )
    table = rows.append_column(KEY, rows[ITEM].cast(pa.string()))
    table = table.append_column(ID, ids["id"].to_arrow())
    table = table.append_column(ROW, pa.array(np.arange(len(rows), dtype=np.int64)))
    order = hash_texts(ids["key"]).arg_sort()
    keys = Keys(part, every, len(rows), 0, Counter(), every, 0, index, seen.integral)
    return keys, table.take(order.to_arrow())
