"""Keys that no worker holds: a bucket's rows meet there, and what is wrong with them goes back to where they stand."""

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
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import one_chunk, read_split
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.vocabularies.number import SortedBucket, no_keys
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.feature_spec import EmbeddingFeature, Feature
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.values import column_text, value_text

LEFT_OUT = "left_out"
REPEATED_ROWS = "repeated_rows"
KEPT = "kept"
ROWS = {"key": pl.String, "split": pl.Int64, "row": pl.Int64}


def by_split(table: TableJob, rows: pl.DataFrame) -> Iterator[tuple[BucketKey, pa.Table]]:
    """Rows that name their split to ((table, split), row numbers)."""
    for piece in rows.select("split", "row").partition_by("split"):
        yield (table.name, int(piece["split"][0])), piece.select("row").to_arrow()


def find_keys_in_bucket(
    job: Job,
    tables: Sequence[TableJob],
    rules: Rules | None,
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    seen: dict[str, int],
) -> Iterator[Any]:
    """The keys of a bucket, of the tables of a side, to its distinct ones, and to the rows that need a second look or none.

    Main: ((vocabulary, bucket), stored) of sorted keys, where they get ids. `LEFT_OUT`: rows of joined tables whose key
    the first table lacks. `REPEATED_ROWS`: rows whose key stands more than once in their table. `KEPT`: how many keys
    there are.
    """
    (_, bucket), pieces = element
    first: pl.DataFrame | None = None
    for k, table in enumerate(tables):
        frames = [as_frame(load(p)) for p in pieces[f"keys-{k}"]]
        rows = pl.concat([pl.DataFrame(schema=ROWS), *frames])
        keys = rows.group_by("key").len("rows")
        yield report_count(f"{table.name}.keys", len(keys))
        twice = keys.filter(pl.col("rows") > 1)
        for value in by_split(table, rows.join(twice, on="key", how="semi")):
            yield TaggedOutput(REPEATED_ROWS, value)
        if first is None:
            first = keys.select(pl.col("key").alias("value"))
            continue
        strange = rows.join(first, left_on="key", right_on="value", how="anti")
        for value in by_split(table, strange):
            yield TaggedOutput(LEFT_OUT, value)
    assert first is not None
    yield TaggedOutput(KEPT, len(first))
    if rules is not None:
        counts = first.with_columns(count=pl.lit(1, pl.Int64))
        yield from SortedBucket(job, rules, seen).outputs(bucket, counts)


def check_kept(table: TableJob, keys: int) -> Iterator[int]:
    """How many keys a side has to the same; none at all is refused."""
    if keys == 0:
        raise no_keys(table, [])
    yield keys


def _named(tables: Sequence[TableJob], name: str) -> TableJob:
    return next(t for t in tables if t.name == name)


def read_again(
    tables: Sequence[TableJob],
    element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]],
    splits: dict[BucketKey, Split],
) -> Iterator[tuple[str, pa.Table]]:
    """The numbers of a split's rows whose keys are repeated to what decides between them: (table, rows)."""
    place, pieces = element
    table, split = _named(tables, place[0]), splits[place]
    wanted = pl.concat([as_frame(load(p))["row"] for p in pieces["rows"]]).implode()
    for batch in prefetched(read_split(split, table.columns)):
        found = pl.Series(batch.rows).is_in(wanted).arg_true()
        if found.is_empty():
            continue
        text = batch_keys(table, split, batch)
        rows = hashed_rows(table, split, batch, text, found)
        yield table.name, rows.with_columns(split=pl.lit(split.number, pl.Int64)).to_arrow()


def choose_in_bucket(
    tables: Sequence[TableJob], element: tuple[BucketKey, dict[str, Iterable[Any]]]
) -> Iterator[Any]:
    """All rows of a bucket's repeated keys to those that lost: ((table, split), row numbers)."""
    (name, _), pieces = element
    table = _named(tables, name)
    rows = pl.concat([as_frame(load(p)) for p in pieces["rows"]])
    losers, reports = lost_rows(table, rows)
    yield from by_split(table, losers)
    yield from reports


def store_left_out(
    job: Job, element: tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]]
) -> Iterator[tuple[BucketKey, TableRef]]:
    """All row numbers of a split that do not count to one reference."""
    place, pieces = element
    rows = pl.concat([as_frame(load(p)) for p in pieces["rows"]]).unique().sort("row")
    yield place, store(job.parts, "left-out", rows.to_arrow())


def row_hash(key: str, cells: Iterable[tuple[Feature, object]]) -> int:
    """The hash that decides between different rows of one key: of the key and the feature cells as text."""
    return stable_hash(key, *(canonical_text(feature, cell) for feature, cell in cells))


def canonical_text(feature: Feature, cell: object) -> str:
    """A raw cell as text: of a vector its float32 bytes in hex, of another list JSON; missing is empty."""
    if isinstance(cell, bytes):  # JSON lines with cells of mixed shapes
        cell = json.loads(cell)
    if isinstance(feature, EmbeddingFeature) and isinstance(cell, list):
        if all(x is None or isinstance(x, int | float) for x in cell):
            with np.errstate(over="ignore"):
                values = np.array([embedding.as_float(x) for x in cell], dtype="<f4")
            return (values + np.float32(0)).tobytes().hex()
    if isinstance(cell, list):
        return json.dumps(_texts(cell), ensure_ascii=False, separators=(",", ":"))
    return value_text(float(cell) if isinstance(cell, Decimal) else cell) or ""


def _with_times_as_text(table: pa.Table) -> pa.Table:
    """Python's datetime has neither nanoseconds nor years beyond 9999."""
    for k, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text, _ = column_text(one_chunk(table, field.name), field.name)
            table = table.set_column(k, field.name, text.to_arrow())
    return table


def _texts(cell: object) -> object:
    return [_texts(x) for x in cell] if isinstance(cell, list) else value_text(cell)


def batch_keys(table: TableJob, split: Split, batch: ReadBatch) -> pl.Series:
    """The keys of a batch as text."""
    return key_text(one_chunk(batch.table, table.key), table.key, split.file.name)[0]


def hashed_rows(
    table: TableJob, split: Split, batch: ReadBatch, text: pl.Series, at: pl.Series
) -> pl.DataFrame:
    """Some rows of a batch as key, hash, file and row: what decides which row of a key is kept.

    Args:
        table: whose rows they are.
        split: where they stand.
        batch: the batch, with all columns of the table.
        text: its keys.
        at: the positions of the rows.
    """
    rows = _with_times_as_text(batch.table.take(at.to_arrow())).to_pylist()
    hashes = [
        row_hash(text[k], [(f, row[f.column]) for f in table.features])
        for k, row in zip(at.to_list(), rows, strict=True)
    ]
    return pl.DataFrame(
        {
            "key": text.gather(at),
            "hash": pl.Series(hashes, dtype=pl.UInt64),
            "file": [split.file.name] * len(rows),
            "row": pl.Series(batch.rows).gather(at),
        }
    )


def lost_rows(table: TableJob, rows: pl.DataFrame) -> tuple[pl.DataFrame, Iterator[Any]]:
    """Of each key keep the row of the smallest hash.

    Args:
        table: whose rows they are.
        rows: all rows of some repeated keys: key, hash, file, row, and what else is to be known of the losers.

    Returns:
        The losers, and what is to be reported of them.
    """
    rows = rows.sort("key", "hash", "file", "row")
    best = rows.group_by("key", maintain_order=True).first().rename({"hash": "best"})
    rows = rows.join(best.select("key", "best"), on="key")
    kept = best.select("file", "row")
    # Equal rows count as one, whether they equal the kept row or another that lost.
    rows = rows.with_columns(copy=~pl.struct("key", "hash").is_first_distinct())
    losers = rows.join(kept, on=["file", "row"], how="anti").sort("file", "row")
    return losers, _lost_reports(table, losers)


def _lost_reports(table: TableJob, losers: pl.DataFrame) -> Iterator[Any]:
    different = losers.filter((pl.col("hash") != pl.col("best")) & ~pl.col("copy"))
    for (file,), group in different.group_by("file"):
        listed = group.select("row", "key").iter_rows()
        bad = [(r, table.key, table.duplicate, k) for r, k in listed]
        yield from report_rejects(table.name, str(file), bad)
    yield report_count(f"{table.name}.repeated", len(losers) - len(different))
    yield report_count(f"{table.name}.duplicate", len(different))
