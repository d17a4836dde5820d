"""Estimates the number of rows and of distinct values before a build.

The sources are Parquet footers, the beginnings of text files, and samples of values where the number of rows does not decide.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.check import Checked
from heterrec_pipeline.features import categorical
from heterrec_pipeline.job import INTERACTIONS, ITEMS, USERS
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.reading.files import InputFile, Split, parquet_metadata, split_file
from heterrec_pipeline.reading.formats import avro, npy, orc
from heterrec_pipeline.reading.formats.text import TextStream
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.reading.shaping.shape import physical_rows
from heterrec_pipeline.sizing import Basis, Estimate, Sizes, distinct_bound
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.value_columns import column_text

MAX_FOOTERS = 256
"""Maximum number of footers read per table; the rows of further Parquet files are estimated from their bytes."""
BEGINNINGS = 8
"""Maximum number of text files sampled per table."""
BEGINNING_BYTES = 4 * 2**20
"""Bytes read of each sampled text file."""
SAMPLE_FILES = 8
"""Maximum number of files, and of splits, in a sample of values."""
SAMPLE_ROWS = 2**18
"""Maximum number of rows in a sample of values."""
CELL_VALUES = 16
"""Assumed maximum mean number of values per multivalued cell."""
T = TypeVar("T")


def estimate_sizes(spec: FeatureSpec, checked: Checked) -> Sizes:
    """Estimate the number of rows of every table and of distinct values of every vocabulary.

    Values are sampled only where the number of rows does not decide: most builds read only footers.

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
    """The basis of a number of keys, which the number of rows bounds."""
    return "bound" if basis == "read" else basis


def row_estimate(files: tuple[InputFile, ...]) -> Estimate:
    """Number of rows of some files: exact for Parquet, ORC and arrays, else estimated from beginnings and bytes."""
    packed = [f for f in files if f.format in ("parquet", "orc", "npy")]
    texts = [f for f in files if f.format in ("csv", "jsonl")]
    records = [f for f in files if f.format == "avro"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        footers = list(pool.map(_counted_rows, packed[:MAX_FOOTERS]))
    whole = sum(footers)
    exact = not texts and not records and len(packed) <= MAX_FOOTERS
    if len(packed) > MAX_FOOTERS:
        seen = sum(f.bytes for f in packed[:MAX_FOOTERS])
        whole = whole * sum(f.bytes for f in packed) // max(seen, 1)
    whole += _text_rows(texts) + _record_rows(records)
    if files and files[0].source is not None and files[0].source.unnest is not None:
        return Estimate(round(whole * _elements_per_row(files)), "bytes")
    return Estimate(whole, "read" if exact else "bytes")


def _elements_per_row(files: tuple[InputFile, ...]) -> float:
    """Mean number of elements of a list that is unnested, from the beginnings of some files."""
    rows = elements = 0
    for file in _evenly(list(files), BEGINNINGS):
        assert file.source is not None
        every = file.source.model_copy(update={"where": None, "columns": {}})
        split = next(split_file(replace(file, source=every)), None)
        batch = next(read_split(split, []), None) if split is not None else None
        if batch is not None and len(batch.rows):
            elements += len(batch.rows)
            physical = physical_rows(file, batch.rows)
            rows += int(physical.max() - physical.min()) + 1
    return elements / rows if rows else 1.0


def _counted_rows(file: InputFile) -> int:
    """The number of rows in the footer of a file."""
    if file.format == "parquet":
        return int(parquet_metadata(file).num_rows)
    return orc.row_count(file) if file.format == "orc" else npy.row_count(file)


def _record_rows(files: list[InputFile]) -> int:
    """Approximate number of records of Avro files, by the first blocks of some."""
    seen = _evenly(files, BEGINNINGS)
    rows, taken = sum(avro.row_estimate(f) for f in seen), sum(f.bytes for f in seen)
    return -(-rows * sum(f.bytes for f in files) // max(1, taken))


def _text_rows(files: list[InputFile]) -> int:
    lines = taken = 0
    for file in _evenly(files, BEGINNINGS):
        if file.bytes == 0:
            continue
        with TextStream(file) as stream:
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
    """Number of distinct values of a categorical feature.

    Args:
        feature: the feature.
        files: the files that have its column.
        population: number of rows of the table; for items from a log, their expected number.
        limit: a population at or below it needs no sample.
    """
    if not feature.multivalued and population <= limit:
        return Estimate(population, "bound")
    if feature.multivalued and CELL_VALUES * population <= limit:
        return Estimate(CELL_VALUES * population, "bound")

    def texts(column: pa.Array) -> pl.Series:
        cells, _ = categorical.texts(feature, column)
        return cells.unique(["row", "value"])["value"]

    found, rows = sample(files, feature.column, texts)
    cells = -(-len(found) * population // rows) if rows else population
    return _distinct(found, cells if feature.multivalued else population)


def _item_estimate(spec: FeatureSpec, checked: Checked, rows: Estimate, limit: int) -> Estimate:
    """Number of items of a denormalised log."""
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
        The texts, and the number of rows that they were taken from.
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
    """At most `most` elements, evenly spread over the list."""
    if len(things) <= most:
        return things
    return [things[k * len(things) // most] for k in range(most)]
