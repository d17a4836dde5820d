"""The first read: how much there is to encode, and which keys stand twice with other contents.

Only keys and hashes are grouped here; the texts themselves travel once, in the second read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.embed.config import EmbedConfig, EmbeddedColumn
from heterrec_pipeline.embed.contents import contents, hashes
from heterrec_pipeline.embed.models import EmbeddingModel, EncoderLoader
from heterrec_pipeline.embed.tally import TALLY
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.jsonl import parse
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import one_chunk, read_split
from heterrec_pipeline.reading.text import lines
from heterrec_pipeline.wiring.carried import carried
from heterrec_schemas.errors import DataError, RejectRatioError, SchemaMismatchError, suggest
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.values import Seen

KEYS, HASHES, NUMBERS = "keys", "hashes", "numbers"
BUCKETS = 16
"""How many groups a column's keys and hashes are looked at in."""
LOSERS = pl.Schema({"column": pl.String, "key": pl.String, "hash": pl.UInt64})
Bucket = tuple[str, int]


@dataclass(frozen=True)
class EmbedJob:
    """Everything that workers get."""

    config: EmbedConfig
    files: tuple[InputFile, ...]
    model: EmbeddingModel
    load: EncoderLoader

    @property
    def read_columns(self) -> list[str]:
        """The raw columns that are read."""
        return list(dict.fromkeys([self.config.key, *(c.name for c in self.config.columns)]))

    def column(self, name: str) -> EmbeddedColumn:
        """A column by its name."""
        return next(c for c in self.config.columns if c.name == name)


@dataclass(frozen=True)
class Plan:
    """What the survey found, and how many shards follow from it.

    Attributes:
        rows: rows of the item table.
        integral: whether keys are stored as int64.
        shards: shards of each column.
        missing: rows of each column with a key and nothing to encode.
        losers: column, key, hash: contents of a key that stands with a smaller hash too.
    """

    rows: int
    integral: bool
    shards: dict[str, int]
    missing: dict[str, int]
    losers: pa.Table


def keyed(job: EmbedJob, split: Split, batch: ReadBatch) -> tuple[pl.Series, Seen]:
    """The texts of a batch's keys, and what they are."""
    key = job.config.key
    return key_text(one_chunk(batch.table, key), key, split.file.name)


class Survey(beam.DoFn):
    """Splits to keys with hashes, hashes alone, and counts."""

    def __init__(self, job: EmbedJob) -> None:
        """Survey for one job."""
        self.job = job

    @carried
    def process(self, split: Split) -> Iterator[Any]:
        """Read one split."""
        for batch in prefetched(read_split(split, self.job.read_columns)):
            key, seen = keyed(self.job, split, batch)
            yield TaggedOutput(NUMBERS, ("rows", len(key) + len(batch.bad)))
            yield TaggedOutput(NUMBERS, ("malformed", len(batch.bad)))
            yield TaggedOutput(NUMBERS, ("keyless", key.null_count()))
            for flag in seen:
                yield TaggedOutput(NUMBERS, (f"seen {flag.name}", 1))
            for column in self.job.config.columns:
                found = contents(column, one_chunk(batch.table, column.name), split.file.name)
                frame = pl.DataFrame({"key": key, "hash": hashes(found)})
                frame = frame.filter(pl.col("key").is_not_null())
                missing = frame["hash"].null_count()
                yield TaggedOutput(NUMBERS, (f"missing {column.name}", missing))
                yield from bucketed(column.name, frame.drop_nulls().unique())


def bucketed(column: str, frame: pl.DataFrame) -> Iterator[Any]:
    """Spread a batch's distinct keys and hashes over the buckets."""
    by_key = frame.with_columns(bucket=hash_texts(frame["key"]) % BUCKETS)
    for (bucket,), part in by_key.partition_by("bucket", as_dict=True, include_key=False).items():
        yield TaggedOutput(KEYS, ((column, int(str(bucket))), part.to_arrow()))
    by_hash = frame.select("hash").unique().with_columns(bucket=pl.col("hash") % BUCKETS)
    for (bucket,), part in by_hash.partition_by("bucket", as_dict=True, include_key=False).items():
        yield TaggedOutput(HASHES, ((column, int(str(bucket))), part.to_arrow()))


def distinct(element: tuple[Bucket, Iterable[pa.Table]]) -> tuple[str, int]:
    """How many distinct contents a bucket holds: (column, count)."""
    (column, _), tables = element
    return column, pl.DataFrame(pl.from_arrow(pa.concat_tables(tables)))["hash"].n_unique()


def losers(element: tuple[Bucket, Iterable[pa.Table]]) -> Iterator[pa.Table]:
    """Of a key's different contents all but the one with the smallest hash."""
    (column, _), tables = element
    frame = pl.DataFrame(pl.from_arrow(pa.concat_tables(tables))).unique()
    lost = frame.filter(pl.col("hash") > pl.col("hash").min().over("key"))
    if len(lost):
        yield lost.select(pl.lit(column).alias("column"), "key", "hash").to_arrow()


class MakePlan(beam.DoFn):
    """The survey's findings to a plan, refused where nothing good can come of it."""

    def __init__(self, job: EmbedJob) -> None:
        """Plan one job."""
        self.job = job

    @carried
    def process(
        self, _: None, numbers: dict[str, int], counts: dict[str, int], lost: list[pa.Table]
    ) -> Iterator[Plan]:
        """Make the plan."""
        job, rows = self.job, numbers.get("rows", 0)
        seen = Seen(sum(f.value for f in Seen if numbers.get(f"seen {f.name}")))
        bad = numbers.get("malformed", 0) + numbers.get("keyless", 0)
        _refuse_keyless(job, rows, bad, numbers.get("keyless", 0))
        for column in job.config.columns:
            if not counts.get(column.name):
                raise _nothing(job, column.name, rows)
        refuse_rejects(job.config, bad + sum(map(len, lost)), rows)
        TALLY.expect(sum(counts.values()))
        yield Plan(
            rows,
            seen.integral,
            {c.name: job.config.shards_for(c, counts[c.name]) for c in job.config.columns},
            {c.name: numbers.get(f"missing {c.name}", 0) for c in job.config.columns},
            pa.concat_tables(lost) if lost else pl.DataFrame(schema=LOSERS).to_arrow(),
        )


def refuse_rejects(config: EmbedConfig, bad: int, rows: int) -> None:
    """Stop where too many rows were set aside.

    Raises:
        RejectRatioError: more than `max_reject_ratio` of the rows.
    """
    if bad > config.max_reject_ratio * rows:
        raise RejectRatioError(
            f"{bad:,} of {rows:,} rows of the item table cannot be used (malformed, without a key, "
            "of a key that stands twice with different contents, or with an unreadable image)",
            got=f"a share of {bad / rows:.2%}",
            expected=f"at most {config.max_reject_ratio:.2%}",
            todo="Clean the table, or raise max_reject_ratio.",
        )


def _refuse_keyless(job: EmbedJob, rows: int, bad: int, keyless: int) -> None:
    names = ", ".join(f.name for f in job.files[:4]) + (", ..." if len(job.files) > 4 else "")
    if rows == 0:
        raise DataError(f"{names}: the item table has no rows", todo="Check the path.")
    if bad == rows and keyless:
        raise SchemaMismatchError(
            f"{names}: no row has a key in column {job.config.key!r}",
            todo=suggest(job.config.key, _known(job.files[0])),
        )


def _nothing(job: EmbedJob, column: str, rows: int) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"column {column!r} holds nothing to embed in any of {rows:,} rows",
        todo=suggest(column, _known(job.files[0])),
    )


def _known(file: InputFile) -> list[str]:
    """The keys of a JSON lines file's first rows; other readers name the columns themselves."""
    if file.format != "jsonl":
        return []
    rows = [parse(line, file) for line in next(lines(file), [])[:1000] if line.strip()]
    return sorted({str(k) for row in rows if isinstance(row, dict) for k in row})
