"""Keys of a feature table: read, numbered, and the rows of a key that stands more than once resolved."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features import embedding
from heterrec_pipeline.features.cells import cell_text
from heterrec_pipeline.graph import tables_in
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import RejectedCell, counted, rejected
from heterrec_pipeline.publishing.parts import Stored, opened, row_count
from heterrec_pipeline.reading.batches import Batch
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import one_chunk, prefetched, read_split
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.rejects import Reason
from heterrec_schemas.spec import EmbeddingFeature, Feature
from heterrec_schemas.tokens import number_vocabulary
from heterrec_schemas.values import Seen, column_text, value_text

SEEN = "seen"
REPEATED = "repeated"
WHY = b"heterrec_why"
"""In a schema's metadata: why a batch has no row with a key, by example."""
LOSERS = pa.schema([pa.field("file", pa.string()), pa.field("row", pa.int64())])
"""Rows that are left out because another row of their key is kept."""


def key_text(column: pa.Array, name: str, file: str) -> tuple[pl.Series, Seen]:
    """The texts of a key column.

    Raises:
        SchemaMismatchError: a type that is no key, or floats with fractions.
    """
    text, seen = column_text(column, name)
    if seen & Seen.FRACTION:
        odd = next(t for t in text.drop_nulls() if "." in t or "e" in t or "n" in t)
        raise SchemaMismatchError(
            f"{file}: key column {name!r} holds floats with fractions",
            got=odd,
            expected="whole numbers or text",
            todo="Write the keys as integers or text.",
        )
    return text, seen


class ReadKeys(beam.DoFn):
    """Splits to tables of one text column, key; rows without a key are set aside."""

    def __init__(self, table: TableJob, *, from_log: bool = False, place: bool = False) -> None:
        """Read the keys of one table.

        Args:
            table: the table.
            from_log: its rows come out of the log, and the kinds of keys were seen there.
            place: also say where each key stands: split (its number) and row.
        """
        self.table, self.from_log, self.place = table, from_log, place

    @carried
    def process(self, split: Split) -> Iterator[Any]:
        """Read one split."""
        name, key = self.table.name, self.table.key
        for batch in prefetched(read_split(split, [key])):
            text, seen = key_text(one_chunk(batch.table, key), key, split.file.name)
            missing = text.is_null()
            rows = pl.Series(batch.rows)
            odd = (*batch.bad, *batch.short)
            bad: list[RejectedCell] = [(b.row, "", b.reason, b.text) for b in odd]
            short = {b.row for b in batch.short}
            for k in missing.arg_true().to_list():
                if int(rows[k]) not in short:
                    raw = cell_text(batch.table[key][k].as_py())
                    bad.append((int(rows[k]), key, Reason.MISSING_KEY, raw))
            yield from rejected(name, split.file.name, bad)
            yield counted(f"{name}.rows", len(text) + len(batch.bad))
            yield counted(f"{name}.unusable", len(batch.bad) + int(missing.sum()))
            METER.read(name, len(text) + len(batch.bad))
            if not self.from_log:
                yield TaggedOutput(SEEN, (name, int(seen)))
            columns = {"key": text}
            if self.place:
                columns["split"] = pl.repeat(split.number, len(text), dtype=pl.Int64, eager=True)
                columns["row"] = rows
            kept = pl.DataFrame(columns).filter(~missing).to_arrow()
            if len(kept) == 0 and bad:
                row, _, reason, value = bad[0]
                why = f"{split.file.name} row {row}: {reason}, {cell_text(value)!r}"
                kept = kept.replace_schema_metadata({WHY: why.encode()})
            yield kept


@dataclass(frozen=True)
class KeyRules:
    """How keys get ids; None where a table's keys need none."""

    oov_buckets: int
    shards: int | None


def number_keys(
    tables: Iterable[pa.Table], integral: bool, rules: KeyRules | None
) -> tuple[pa.Table, pa.Table]:
    """Give ids to distinct keys.

    Args:
        tables: tables with a text column `key`, in any order.
        integral: whether keys are ordered as numbers.
        rules: the layout of ids, or None for a table whose keys need none.

    Returns:
        The index (key, id int64, shard uint32; sorted by id) and the keys that stand more than once.
    """
    frames = [pl.DataFrame(pl.from_arrow(t.select(["key"]))) for t in tables]
    if not frames:
        frames = [pl.DataFrame(schema={"key": pl.String})]
    keys = pl.concat(frames).group_by("key").len("rows")
    repeated = keys.filter(pl.col("rows") > 1).select("key")
    counts = keys.select(pl.col("key").alias("value"), pl.lit(1, pl.Int64).alias("count"))
    if rules is None:
        index = counts.select(
            pl.col("value").alias("key"),
            pl.lit(0, pl.Int64).alias("id"),
            pl.lit(0, pl.UInt32).alias("shard"),
        )
    else:
        numbered = number_vocabulary(
            counts, integral=integral, oov_buckets=rules.oov_buckets, shards=rules.shards
        )
        index = numbered.select(pl.col("value").alias("key"), "id", "shard")
    return index.to_arrow(), repeated.to_arrow()


class NumberKeys(beam.DoFn):
    """All keys of a table to its index and its repeated keys."""

    def __init__(self, table: TableJob, rules: KeyRules | None) -> None:
        """Number the keys of one table."""
        self.table, self.rules = table, rules

    @carried
    def process(
        self, element: tuple[int, Iterable[pa.Table]], seen: dict[str, int]
    ) -> Iterator[Any]:
        """Number every key."""
        integral = Seen(seen.get(self.table.name, 0)).integral
        tables = list(tables_in(element[1]))
        index, repeated = number_keys(tables, integral, self.rules)
        if len(index) == 0 and not self.table.joined:
            raise no_keys(self.table, tables)
        yield index
        yield TaggedOutput(REPEATED, repeated)
        yield counted(f"{self.table.name}.keys", len(index))


def no_keys(table: TableJob, tables: Iterable[pa.Table]) -> DataError:
    """The error of a feature table without a single usable row; names one of the rows that were set aside."""
    names = [f.name for f in table.files]
    where = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "the log"
    about = [t.schema.metadata or {} for t in tables]
    whys = sorted(m[WHY].decode() for m in about if WHY in m)
    return DataError(
        f"{table.name}: the table holds no row with a key",
        got=f"no usable row in {where}" + (f" ({whys[0]})" if whys else ""),
        expected=f"rows with a value in column {table.key!r}",
        todo="Check source.path and key in the spec.",
    )


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


class ReadRepeated(beam.DoFn):
    """Rows of repeated keys as key, hash, file, row; reads nothing when no key is repeated."""

    def __init__(self, table: TableJob) -> None:
        """Look into one table."""
        self.table = table

    @carried
    def process(self, split: Split, repeated: pa.Table | Stored) -> Iterator[Any]:
        """Read one split again."""
        if row_count(repeated) == 0:
            return
        wanted = pl.DataFrame(pl.from_arrow(opened(repeated)))["key"].implode()
        for batch in prefetched(read_split(split, self.table.columns)):
            text = batch_keys(self.table, split, batch)
            found = text.is_in(wanted).fill_null(False).arg_true()
            if not found.is_empty():
                yield hashed_rows(self.table, split, batch, text, found).to_arrow()


def batch_keys(table: TableJob, split: Split, batch: Batch) -> pl.Series:
    """The keys of a batch as text."""
    return key_text(one_chunk(batch.table, table.key), table.key, split.file.name)[0]


def hashed_rows(
    table: TableJob, split: Split, batch: Batch, text: pl.Series, at: pl.Series
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


class ChooseRows(beam.DoFn):
    """Of each repeated key, keep the row of the smallest hash; the others are copies of it or duplicates."""

    def __init__(self, table: TableJob) -> None:
        """Choose for one table."""
        self.table = table

    @carried
    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
        """Choose over all repeated rows."""
        frames = [pl.DataFrame(pl.from_arrow(t)) for t in tables_in(element[1])]
        if not frames:
            yield LOSERS.empty_table()
            return
        losers, reports = lost_rows(self.table, pl.concat(frames))
        yield losers.select("file", "row").to_arrow().cast(LOSERS)
        yield from reports


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
        yield from rejected(table.name, str(file), bad)
    yield counted(f"{table.name}.repeated", len(losers) - len(different))
    yield counted(f"{table.name}.duplicate", len(different))


def losers_in(losers: pa.Table, file: str) -> pl.Series:
    """The row numbers of one file that are left out."""
    if len(losers) == 0:
        return pl.Series("row", [], dtype=pl.Int64)
    return pl.DataFrame(pl.from_arrow(losers)).filter(pl.col("file") == file)["row"]
