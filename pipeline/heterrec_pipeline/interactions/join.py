"""Check the rows of the log and join them with the item index.

The index is a side input (`check_log`), or, if it is too large for a worker, joined by bucket (`check_rows`, `join_items`).
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.read import parse_rows
from heterrec_pipeline.job import INTERACTIONS, ITEMS
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.read import file_of, short_rows
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.lookup import bucket_lookup, lookups
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import RejectedCell, report_count, report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import SEPARATOR, hash_column, hash_texts
from heterrec_schemas.rejects import Reason


class JoinedRows(NamedTuple):
    """Readable rows after the join with the item index; `unknown_items` of the spec decides about rows without an item.

    Attributes:
        kept: the rows to keep, with item_index (and, under `oov`, item_hash: the item's identity).
        dropped: number of rows dropped under `drop`.
        rejected: the rows rejected under `reject`.
    """

    kept: pl.DataFrame
    dropped: int
    rejected: pl.DataFrame


def join_index(spec: FeatureSpec, frame: pl.DataFrame, index: Lookup) -> JoinedRows:
    """Join readable rows with the item index.

    Args:
        spec: the spec.
        frame: readable rows, column item (text).
        index: the item_index of each item.
    """
    joined = frame.with_columns(item_index=index.find(frame["item"]))
    if spec.interactions.unknown_items == "oov":
        buckets = spec.items.catalogue_vocabulary.oov_buckets
        joined = joined.with_columns(item_hash=hash_texts(joined["item"]))
        outside = (pl.col("item_hash") % buckets).cast(pl.Int64) + 2
        return JoinedRows(
            joined.with_columns(pl.col("item_index").fill_null(outside)), 0, joined.head(0)
        )
    unknown = joined["item_index"].is_null()
    if not unknown.any():
        return JoinedRows(joined, 0, joined.head(0))
    kept, rejected = joined.filter(~unknown), joined.filter(unknown)
    if spec.interactions.unknown_items == "drop":
        return JoinedRows(kept, len(rejected), joined.head(0))
    return JoinedRows(kept, 0, rejected)


def unknown_items(spec: FeatureSpec, rows: pl.DataFrame) -> list[RejectedCell]:
    """The reject entries of rows with unknown items (row, item)."""
    column = spec.interactions.item
    return [(r, column, Reason.UNKNOWN_ITEM, i) for r, i in rows.select("row", "item").iter_rows()]


def with_tie(spec: FeatureSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Add the hash that breaks ties in time: of user, time, item and, if declared, the behaviour's text."""
    parts = ["user", pl.col("time").cast(pl.String), "item"]
    if spec.interactions.behaviour is not None:
        parts.append("behaviour_text")
    return frame.with_columns(tie=pl.concat_str(parts, separator=SEPARATOR)).with_columns(
        tie=hash_column("tie")
    )


def shuffle_columns(spec: FeatureSpec) -> list[str]:
    """The columns that go through the shuffle by user."""
    log = spec.interactions
    more = ["behaviour"] if log.behaviour else []
    more += ["order"] if log.order else []
    more += ["item_hash"] if log.unknown_items == "oov" else []
    return ["user", "item_index", "time", "tie", *more]


def report_bad(rows: pa.Table, bad: list[RejectedCell]) -> Iterator[TaggedOutput]:
    """Report the bad rows of a located table; truncated rows are listed as such, whether or not they could be kept."""
    yield report_count("interactions.bad", len(bad))
    short = short_rows(rows)
    if short:
        bad = [b for b in bad if b[0] not in short]
        bad += [(row, "", Reason.MALFORMED_ROW, text) for row, text in short.items()]
    yield from report_rejects(INTERACTIONS, file_of(rows), bad)


def check_log(
    spec: FeatureSpec, rows: pa.Table, index: Iterable[tuple[BucketKey, TableRef]]
) -> Iterator[Any]:
    """Located tables of the log to the columns of the shuffle."""
    frame, bad, seen = parse_rows(spec, rows)
    yield from (TaggedOutput(SEEN, kinds) for kinds in seen.items())
    joined = join_index(spec, frame, lookups(index)[ITEMS])
    yield report_count("interactions.unknown_item", joined.dropped)
    yield from report_bad(rows, bad + unknown_items(spec, joined.rejected))
    if len(joined.kept):
        yield with_tie(spec, joined.kept).select(shuffle_columns(spec)).to_arrow()


def check_rows(spec: FeatureSpec, rows: pa.Table) -> Iterator[Any]:
    """Located tables of the log to readable rows for `join_items`: (items, rows).

    The rows have the item, the columns of the shuffle and, where they can still be rejected, their location.
    """
    frame, bad, seen = parse_rows(spec, rows)
    yield from (TaggedOutput(SEEN, kinds) for kinds in seen.items())
    yield from report_bad(rows, bad)
    if frame.is_empty():
        return
    columns = [c for c in shuffle_columns(spec) if c not in ("item_index", "item_hash")]
    frame = with_tie(spec, frame)
    if spec.interactions.unknown_items == "reject":
        short = pl.Series(list(short_rows(rows)), dtype=pl.Int64).implode()
        frame = frame.with_columns(file=pl.lit(file_of(rows)), short=frame["row"].is_in(short))
        columns += ["file", "row", "short"]
    yield ITEMS, frame.select("item", *columns).to_arrow()


def join_items(spec: FeatureSpec, element: tuple[Any, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    """A bucket's item ids, and the rows of the log with its items, to the columns of the shuffle."""
    _, pieces = element
    index = bucket_lookup(pieces["ids"])
    for piece in pieces["log"]:
        joined = join_index(spec, as_frame(load(piece)), index)
        yield report_count("interactions.unknown_item", joined.dropped)
        if len(joined.rejected):
            yield report_count("interactions.bad", len(joined.rejected))
            # `check_rows` has listed truncated rows already.
            for (file,), rows in joined.rejected.filter(~pl.col("short")).group_by("file"):
                yield from report_rejects(INTERACTIONS, str(file), unknown_items(spec, rows))
        if len(joined.kept):
            yield joined.kept.select(shuffle_columns(spec)).to_arrow()
