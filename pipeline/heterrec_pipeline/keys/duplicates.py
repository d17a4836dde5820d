"""Keys by bucket: find the distinct ones, and the rows to exclude: of repeated keys, and of keys that the catalogue lacks."""

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import embedding
from heterrec_pipeline.files.parts import TableRef, load, store
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.erased import read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.vocabularies.count import KNOWN_ROWS, sort_bucket
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import value_text

EXCLUDED = "excluded"
REPEATED = "repeated"
ROWS = {"key": pl.String, "split": pl.Int64, "row": pl.Int64}


def by_split(table: TableJob, rows: pl.DataFrame) -> Iterator[tuple[BucketKey, pa.Table]]:
    """Cut rows by their split: ((table, split), row numbers)."""
    for piece in rows.select("split", "row").partition_by("split"):
        yield (table.name, int(piece["split"][0])), piece.select("row").to_arrow()


def find_keys(
    job: Job,
    tables: Sequence[TableJob],
    rules: Rules,
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    seen: dict[str, int],
) -> Iterator[Any]:
    """Find the distinct keys of a bucket in the tables of a side.

    Yields:
        The outputs of `sort_bucket` for the keys of the first table. Tagged `EXCLUDED`: rows of joined tables whose key the
        first table lacks. Tagged `REPEATED`: rows whose key occurs more than once in their table.
    """
    (_, bucket), pieces = element
    first: pl.DataFrame | None = None
    for k, table in enumerate(tables):
        frames = [as_frame(load(p)) for p in pieces[f"keys-{k}"]]
        rows = pl.concat([pl.DataFrame(schema=ROWS), *frames])
        keys = rows.group_by("key").len("rows")
        yield report_count(f"{table.name}.keys", len(keys))
        repeated = keys.filter(pl.col("rows") > 1)
        if len(repeated):
            for value in by_split(table, rows.join(repeated, on="key", how="semi")):
                yield TaggedOutput(REPEATED, value)
        if first is None:
            first = keys.select(pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count"))
            continue
        unknown = rows.join(first, left_on="key", right_on="value", how="anti")
        for value in by_split(table, unknown):
            yield TaggedOutput(EXCLUDED, value)
    assert first is not None
    yield from sort_bucket(job, rules, bucket, first, seen, pieces.get(KNOWN_ROWS, ()))


def _named(tables: Sequence[TableJob], name: str) -> TableJob:
    return next(t for t in tables if t.name == name)


def read_repeated(
    tables: Sequence[TableJob],
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    splits: dict[BucketKey, Split],
) -> Iterator[tuple[str, pa.Table]]:
    """Read the rows of repeated keys in a split again, and hash them: (table, rows)."""
    (name, _), pieces = element
    table, split = _named(tables, name), splits[element[0]]
    wanted = pl.concat([as_frame(load(p))["row"] for p in pieces["rows"]]).implode()
    for batch in prefetched(read_live(split, table.columns, table.gate)):
        positions = pl.Series(batch.rows).is_in(wanted).arg_true()
        if positions.is_empty():
            continue
        rows = hashed_rows(table, split, batch, positions)
        yield name, rows.with_columns(split=pl.lit(split.number, pl.Int64)).to_arrow()


def choose_rows(
    tables: Sequence[TableJob], element: tuple[BucketKey, dict[str, Iterable[Any]]]
) -> Iterator[Any]:
    """Choose a row of each repeated key in a bucket; yields the excluded ones: ((table, split), row numbers)."""
    (name, _), pieces = element
    table = _named(tables, name)
    rows = pl.concat([as_frame(load(p)) for p in pieces["rows"]])
    excluded, reports = resolve_duplicates(table, rows)
    yield from by_split(table, excluded)
    yield from reports


def store_excluded(
    job: Job, element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]]
) -> Iterator[tuple[BucketKey, TableRef]]:
    """Store the numbers of all excluded rows of a split as one table."""
    key, pieces = element
    rows = pl.concat([as_frame(load(p)) for p in pieces["rows"]]).unique().sort("row")
    yield key, store(job.parts, "excluded", rows.to_arrow())


def row_hash(key: str, cells: Iterable[tuple[Feature | None, object]]) -> int:
    """The hash that decides between rows of one key: of the key and its cells as text; see `canonical_text`."""
    return stable_hash(key, *(canonical_text(feature, cell) for feature, cell in cells))


def canonical_text(feature: Feature | None, cell: object) -> str:
    """A raw cell as text: the float32 bytes of a vector in hex, any other list as JSON, a missing cell as empty text."""
    if isinstance(cell, bytes):  # JSON lines with cells of mixed shapes
        cell = json.loads(cell)
    if isinstance(feature, EmbeddingFeature) and isinstance(cell, list):
        if all(x is None or isinstance(x, int | float) for x in cell):
            with np.errstate(over="ignore"):
                values = np.array([embedding.as_float(x) for x in cell], dtype="<f4")
            return (values + np.float32(0)).tobytes().hex()
    if isinstance(cell, list):
        return json.dumps(_texts(cell), ensure_ascii=False, separators=(",", ":"))
    if isinstance(cell, Decimal):
        cell = int(cell) if cell == cell.to_integral_value() else float(cell)
    return value_text(cell) or ""


def _with_times_as_text(table: pa.RecordBatch) -> pa.RecordBatch:
    """Replace timestamps by text, since Python's datetime has neither nanoseconds nor years beyond 9999."""
    for k, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text, _ = column_text(table[field.name], field.name)
            table = table.set_column(k, field.name, text.to_arrow())
    return table


def _texts(cell: object) -> object:
    return [_texts(x) for x in cell] if isinstance(cell, list) else value_text(cell)


def hashed_rows(table: TableJob, split: Split, batch: ReadBatch, at: pl.Series) -> pl.DataFrame:
    """Some rows of a batch as key, hash, file and row, which decide the row of a key that is kept.

    Args:
        table: the table.
        split: the split of the batch.
        batch: the batch, with all columns of the table.
        at: the positions of the rows in the batch.
    """
    taken = batch.table.take(at.to_arrow())
    keys, _ = table.key_text(taken[table.key], split.file.name)
    rows = _with_times_as_text(taken).to_pylist()
    columns: list[tuple[Feature | None, str]] = [(f, f.column) for f in table.features]
    if table.available_from is not None:
        columns.append((None, table.available_from.column))
    hashes = [
        row_hash(key, [(feature, row[column]) for feature, column in columns])
        for key, row in zip(keys, rows, strict=True)
    ]
    return pl.DataFrame(
        {
            "key": keys,
            "hash": pl.Series(hashes, dtype=pl.UInt64),
            "file": [split.file.name] * len(rows),
            "row": pl.Series(batch.rows).gather(at),
        }
    )


def resolve_duplicates(table: TableJob, rows: pl.DataFrame) -> tuple[pl.DataFrame, Iterator[Any]]:
    """Keep the row with the smallest hash of each key.

    Args:
        table: the table of the rows.
        rows: all rows of some repeated keys: key, hash, file, row and any further columns.

    Returns:
        The rows that are not kept, with all columns, and reports about them.
    """
    rows = rows.sort("key", "hash", "file", "row")
    best = rows.group_by("key", maintain_order=True).first().rename({"hash": "best"})
    rows = rows.join(best.select("key", "best"), on="key")
    kept = best.select("file", "row")
    # Equal rows count as one, whether they equal the kept row or another excluded one.
    rows = rows.with_columns(copy=~pl.struct("key", "hash").is_first_distinct())
    excluded = rows.join(kept, on=["file", "row"], how="anti").sort("file", "row")
    return excluded, _duplicate_reports(table, excluded)


def _duplicate_reports(table: TableJob, excluded: pl.DataFrame) -> Iterator[Any]:
    different = excluded.filter((pl.col("hash") != pl.col("best")) & ~pl.col("copy"))
    for (file,), group in different.group_by("file"):
        listed = group.select("row", "key").iter_rows()
        bad = table.rejects.told((r, table.key, table.duplicate, k) for r, k in listed)
        yield from report_rejects(table.name, str(file), bad)
    yield report_count(f"{table.name}.repeated", len(excluded) - len(different))
    yield report_count(f"{table.name}.duplicate", len(different))
