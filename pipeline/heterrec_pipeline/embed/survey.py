"""The first read of the item table: the number of distinct contents, and keys with several contents.

Only keys and hashes are exchanged; the texts themselves are sent once, in the second read.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.embed.config import EmbedConfig
from heterrec_pipeline.embed.contents import read_contents
from heterrec_pipeline.embed.job import EmbedJob, ShardPlan
from heterrec_pipeline.embed.progress import ALL_TEXTS
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.job import ITEMS, TableJob
from heterrec_pipeline.keys.duplicates import resolve_duplicates
from heterrec_pipeline.keys.read import SEEN, unusable_rows
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.formats.jsonl import parse
from heterrec_pipeline.reading.formats.text import lines
from heterrec_pipeline.reading.read import bad_text_cells, located
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import DataError, RejectRatioError, SchemaMismatchError, suggest
from heterrec_schemas.values import Seen

HASHES = "hashes"
LOSERS = pl.Schema({"column": pl.String, "key": pl.String, "hash": pl.UInt64})
Bucket = tuple[BucketKey, dict[str, Iterable[pa.Table | TableRef]]]


def read_hashes(job: EmbedJob, split: Split) -> Iterator[Any]:
    """Read a split: yields (column, keys with the hash of their content and their place); tags hashes and kinds of keys."""
    for raw, keys, kinds, columns in read_contents(job, split):
        rejected = unusable_rows(raw, job.config.key, keys)
        rejected += bad_text_cells(located(raw, split), columns)
        yield from report_rejects(ITEMS, split.file.name, rejected)
        yield report_count("items.rows", len(keys) + len(raw.bad))
        yield report_count("items.rejected", len({row for row, *_ in rejected}))
        yield report_count("items.unusable", len(raw.bad) + keys.null_count())
        yield report_count("items.keyless", keys.null_count())
        yield TaggedOutput(SEEN, (ITEMS, int(kinds)))
        for name, rows in columns.items():
            yield report_count(f"{name}.missing", rows["hash"].null_count())
            rows = rows.drop_nulls("hash")
            yield report_count(f"{name}.{rows.schema['content']}", len(rows))
            yield name, rows.select("key", "hash", "file", "row").to_arrow()
            yield TaggedOutput(HASHES, (name, rows.select("hash").unique().to_arrow()))


def count_distinct(element: Bucket) -> Iterator[Any]:
    """Report the number of distinct contents of a bucket of hashes."""
    (column, _), pieces = element
    hashes = pl.concat([as_frame(load(p)) for p in pieces["rows"]])
    yield report_count(f"{column}.distinct", hashes["hash"].n_unique())


def find_losers(job: EmbedJob, element: Bucket) -> Iterator[Any]:
    """Of the contents of a key keep the one with the smallest hash: yields and reports the others of a bucket of keys."""
    (column, _), pieces = element
    rows = pl.concat([as_frame(load(p)) for p in pieces["rows"]])
    rows = rows.filter(pl.col("hash").n_unique().over("key") > 1)
    names = pl.Series([f.name for f in job.files], dtype=pl.String)
    rows = rows.with_columns(file=names.gather(rows["file"]))
    # A reject names the embedded column: another column of the row may be fine.
    lost, reports = resolve_duplicates(TableJob(ITEMS, "item", column, (), ()), rows)
    yield from reports
    lost = lost.filter(pl.col("hash") != pl.col("best")).with_columns(column=pl.lit(column))
    yield lost.select(*LOSERS).unique().to_arrow()


def join_losers(element: tuple[int, Iterable[pa.Table]]) -> Iterator[pa.Table]:
    """Concatenate the losers of all buckets."""
    yield pa.concat_tables([pl.DataFrame(schema=LOSERS).to_arrow(), *tables_in(element[1])])


def plan_shards(
    job: EmbedJob, _: Any, counts: dict[str, int], kinds: dict[str, int], losers: TableRef
) -> Iterator[Any]:
    """Determine the number of shards per column.

    Raises:
        DataError: the table has no rows.
        SchemaMismatchError: no row has a key, or a column has no contents or contents of two kinds.
        RejectRatioError: too many rows are rejected.
    """
    rows, columns = counts.get("items.rows", 0), job.config.columns
    _check_keys(job, rows, counts)
    for column in columns:
        if not counts.get(f"{column.name}.distinct"):
            raise SchemaMismatchError(
                f"column {column.name!r} holds nothing to embed in any of {rows:,} rows",
                todo=suggest(column.name, _json_columns(job.files[0])),
            )
        if all(counts.get(f"{column.name}.{kind}") for kind in (pl.String, pl.Binary)):
            raise SchemaMismatchError(
                f"column {column.name!r} holds paths in some files and image bytes in others",
                expected="one of the two",
                todo="Split the item table and embed the parts into two folders.",
            )
    check_rejects(job.config, counts["items.rejected"] + counts.get("items.duplicate", 0), rows)
    distinct = {c.name: counts[f"{c.name}.distinct"] for c in columns}
    yield report_count(ALL_TEXTS, sum(distinct.values()))
    yield ShardPlan(
        rows=rows,
        integral=Seen(kinds[ITEMS]).integral,
        shards={c.name: job.config.shards_for(c, distinct[c.name]) for c in columns},
        missing={c.name: counts[f"{c.name}.missing"] for c in columns},
        losers=losers,
    )


def check_rejects(config: EmbedConfig, rejected: int, rows: int) -> None:
    """Compare the ratio of rejected rows with its maximum.

    Raises:
        RejectRatioError: more than `max_reject_ratio` of the rows are rejected.
    """
    if rejected > config.max_reject_ratio * rows:
        raise RejectRatioError(
            f"{rejected:,} of {rows:,} rows of the item table cannot be used (malformed, without a "
            "key, with another content than the one kept for their key, or with an unreadable image)",
            got=f"a ratio of {rejected / rows:.2%}",
            expected=f"at most {config.max_reject_ratio:.2%}",
            todo="Clean the table, or raise max_reject_ratio.",
        )


def _check_keys(job: EmbedJob, rows: int, counts: dict[str, int]) -> None:
    names = ", ".join(f.name for f in job.files[:4]) + (", ..." if len(job.files) > 4 else "")
    if rows == 0:
        raise DataError(f"{names}: the item table has no rows", todo="Check the path.")
    if counts["items.keyless"] and counts["items.unusable"] == rows:
        raise SchemaMismatchError(
            f"{names}: no row has a key in column {job.config.key!r}",
            todo=suggest(job.config.key, _json_columns(job.files[0])),
        )


def _json_columns(file: InputFile) -> list[str]:
    """The names in the first rows of a JSON lines file; the other readers report missing columns themselves."""
    if file.format != "jsonl":
        return []
    rows = [parse(line, file) for line in next(lines(file), [])[:1000] if line.strip()]
    return sorted({str(k) for row in rows if isinstance(row, dict) for k in row})
