"""Reckon rows and distinct values before a build: by footers, beginnings of text files, and samples where these decide."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.check import Checked
from heterrec_pipeline.features import categorical
from heterrec_pipeline.job import INTERACTIONS, ITEMS, USERS
from heterrec_pipeline.reading.files import InputFile, Split, parquet_metadata, split_file
from heterrec_pipeline.reading.read import one_chunk, read_split
from heterrec_pipeline.reading.text import Blocks
from heterrec_pipeline.sizing import Basis, Estimate, Sizes, distinct_bound
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.values import column_text

MAX_FOOTERS = 256
"""So many footers are read; the rows of more Parquet files are reckoned by their bytes."""
BEGINNINGS = 8
"""So many text files of a table are looked into."""
BEGINNING_BYTES = 4 * 2**20
SAMPLE_FILES = 8
SAMPLE_ROWS = 2**18
T = TypeVar("T")


def estimate_sizes(spec: FeatureSpec, checked: Checked) -> Sizes:
    """How much every table and vocabulary holds, and the limit that they are compared with.

    Samples are read only of what the number of rows does not settle: most builds read footers and no more.

    Raises:
        HeterrecError: a file cannot be read.
    """
    limit = spec.limits.broadcast_values
    tables = [t for t in (checked.items, *checked.joins, checked.users) if t is not None]
    rows = {t.name: row_estimate(t.files) for t in tables if t.files}
    rows[INTERACTIONS] = row_estimate(checked.log)
    catalogue = [rows[t.name] for t in (checked.items, *checked.joins) if t.name in rows]
    if spec.denormalised:
        catalogue.append(_item_estimate(spec, checked, rows[INTERACTIONS], limit))
    values = {}
    if catalogue:
        most = max(catalogue, key=lambda e: e.count)
        values[ITEMS] = Estimate(most.count, _of_keys(most.basis))
    if USERS in rows:
        values[USERS] = Estimate(rows[USERS].count, _of_keys(rows[USERS].basis))
    for table in tables:
        files, population = (
            (table.files, rows[table.name]) if table.files else (checked.log, values.get(ITEMS))
        )
        for feature in table.features:
            if isinstance(feature, CategoricalFeature) and population is not None:
                name = f"{table.side}/{feature.name}"
                values[name] = value_estimate(feature, files, population.count, limit)
    return Sizes(limit, rows, values)


def _of_keys(basis: Basis) -> Basis:
    """Rows are a bound of keys, whether they were counted or reckoned."""
    return "bound" if basis == "read" else basis


def row_estimate(files: tuple[InputFile, ...]) -> Estimate:
    """How many rows some files hold: exact for Parquet, by the bytes of their beginnings for text."""
    packed = [f for f in files if f.format == "parquet"]
    texts = [f for f in files if f.format != "parquet"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        footers = list(pool.map(lambda f: parquet_metadata(f).num_rows, packed[:MAX_FOOTERS]))
    whole = sum(footers)
    exact = not texts and len(packed) <= MAX_FOOTERS
    if len(packed) > MAX_FOOTERS:
        seen = sum(f.bytes for f in packed[:MAX_FOOTERS])
        whole = whole * sum(f.bytes for f in packed) // max(seen, 1)
    return Estimate(whole + _text_rows(texts), "read" if exact else "bytes")


def _text_rows(files: list[InputFile]) -> int:
    lines = taken = 0
    for file in _evenly(files, BEGINNINGS):
        if file.bytes == 0:
            continue
        with Blocks(file) as stream:
            block = stream.read(BEGINNING_BYTES)
            lines += max(1, block.count(b"\n"))
            taken += file.bytes if len(block) < BEGINNING_BYTES else max(1, stream.consumed)
    return -(-lines * sum(f.bytes for f in files) // taken) if taken else 0


def value_estimate(
    feature: CategoricalFeature,
    files: tuple[InputFile, ...],
    population: int,
    limit: int,
) -> Estimate:
    """How many distinct values a categorical feature has.

    Args:
        feature: the feature.
        files: where its column is read.
        population: rows of the table; of item rows that come out of a log, how many they will be.
        limit: a bound at or below it needs no sample.
    """
    if not feature.multivalued and population <= limit:
        return Estimate(population, "bound")
    if feature.multivalued and 16 * population <= limit:  # hardly any cell holds more
        return Estimate(16 * population, "bound")

    def texts(column: pa.Array) -> pl.Series:
        long, _ = categorical.texts(feature, column)
        return long.unique(["row", "value"])["value"]

    found, rows = sample(files, feature.column, texts)
    cells = -(-len(found) * population // rows) if rows else population
    return _distinct(found, cells if feature.multivalued else population)


def _item_estimate(spec: FeatureSpec, checked: Checked, rows: Estimate, limit: int) -> Estimate:
    """How many items a denormalised log has."""
    if rows.count <= limit:
        return Estimate(rows.count, "bound")
    name = spec.interactions.item
    found, _ = sample(checked.log, name, lambda c: column_text(c, name)[0].drop_nulls())
    return _distinct(found, rows.count)


def _distinct(found: pl.Series, total: int) -> Estimate:
    counts = found.value_counts(name="count")["count"]
    bound = distinct_bound(len(found), len(counts), int((counts == 1).sum()), total)
    return Estimate(bound, "sample")


def sample(
    files: tuple[InputFile, ...], column: str, texts: Callable[[pa.Array], pl.Series]
) -> tuple[pl.Series, int]:
    """The texts of some rows of a column, from the beginnings of several files or splits.

    Returns:
        The texts, and how many rows they were taken from.
    """
    splits = [s for f in _evenly(list(files), SAMPLE_FILES) for s in split_file(f)]
    chosen = _evenly(splits, SAMPLE_FILES)
    found, rows = [pl.Series([], dtype=pl.String)], 0
    for split in chosen:
        for cells in _first(split, column, SAMPLE_ROWS // len(chosen)):
            found.append(texts(cells))
            rows += len(cells)
    return pl.concat(found), rows


def _first(split: Split, column: str, rows: int) -> Iterator[pa.Array]:
    for batch in read_split(split, [column]):
        cells = one_chunk(batch.table, column)[:rows]
        yield cells
        rows -= len(cells)
        if rows <= 0:
            return


def _evenly(things: list[T], most: int) -> list[T]:
    """Some of them, spread over the whole."""
    if len(things) <= most:
        return things
    return [things[k * len(things) // most] for k in range(most)]
