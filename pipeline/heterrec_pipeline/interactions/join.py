"""Check the rows of the log and join them with the item index."""

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.interactions.read import _with_short, parse_rows
from heterrec_pipeline.job import INTERACTIONS, ITEMS
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.read import file_of, short_rows
from heterrec_pipeline.telemetry.progress import METER
from heterrec_pipeline.vocabularies.lookup import Lookup, bucket_lookup, lookups
from heterrec_pipeline.wiring.cut import BucketKey, as_frame
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import SEPARATOR, hash_column, hash_texts
from heterrec_schemas.rejects import Reason


def known_rows(
    spec: FeatureSpec, frame: pl.DataFrame, index: Lookup
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Join readable rows with the item index.

    Args:
        spec: says what becomes of unknown items.
        frame: readable rows, column item (text).
        index: the item_index of each item.

    Returns:
        The rows to keep, with item_index (and, under `oov`, item_hash: the item's identity), and the unknown ones.
    """
    joined = frame.with_columns(item_index=index.find(frame["item"]))
    unknown = joined["item_index"].is_null()
    if spec.interactions.unknown_items == "oov":
        buckets = spec.items.catalogue_vocabulary.oov_buckets
        joined = joined.with_columns(item_hash=hash_texts(joined["item"]))
        outside = (pl.col("item_hash") % buckets).cast(pl.Int64) + 2
        return joined.with_columns(pl.col("item_index").fill_null(outside)), joined.head(0)
    if not unknown.any():
        return joined, joined.head(0)
    return joined.filter(~unknown), joined.filter(unknown)


def with_tie(spec: FeatureSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Add the hash that breaks ties of time: of user, time, item and, where declared, the behaviour's text."""
    parts = ["user", pl.col("time").cast(pl.String), "item"]
    if spec.interactions.behaviour is not None:
        parts.append("behaviour_text")
    return frame.with_columns(tie=pl.concat_str(parts, separator=SEPARATOR)).with_columns(
        tie=hash_column("tie")
    )


def shuffle_columns(spec: FeatureSpec) -> list[str]:
    """What the shuffle carries of a row."""
    log = spec.interactions
    more = ["behaviour"] if log.behaviour else []
    more += ["order"] if log.order else []
    more += ["item_hash"] if log.unknown_items == "oov" else []
    return ["user", "item_index", "time", "tie", *more]


def check_rows(spec: FeatureSpec, rows: pa.Table) -> Iterator[Any]:
    """Located tables of the log to readable rows, for a catalogue whose index no worker holds: (items, rows).

    What `join_items` needs is all that goes on: of the behaviour its id, the tie, and where rows stand if it may reject them.
    """
    log = spec.interactions
    frame, bad, seen = parse_rows(spec, rows)
    for name, kinds in seen.items():
        yield TaggedOutput(SEEN, (name, kinds))
    short = short_rows(rows)
    yield report_count("interactions.bad", len(bad))
    yield from report_rejects(INTERACTIONS, file_of(rows), _with_short(bad, short))
    if frame.is_empty():
        return
    columns = [c for c in shuffle_columns(spec) if c not in ("item_index", "item_hash")]
    frame = with_tie(spec, frame)
    if log.unknown_items == "reject":
        ended = pl.Series(list(short), dtype=pl.Int64).implode()
        frame = frame.with_columns(file=pl.lit(file_of(rows)), short=frame["row"].is_in(ended))
        columns += ["file", "row", "short"]
    yield ITEMS, frame.select("item", *columns).to_arrow()


def join_items(spec: FeatureSpec, element: tuple[Any, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    """A bucket's item ids and the rows of the log that name its items, to the columns of the shuffle."""
    log = spec.interactions
    _, pieces = element
    METER.enter("joining interactions")
    index = bucket_lookup(pieces["ids"])
    for piece in pieces["log"]:
        kept, unknown = known_rows(spec, as_frame(load(piece)), index)
        if log.unknown_items == "reject":
            yield report_count("interactions.bad", len(unknown))
            # A row that ended early is listed as such already.
            for (file,), group in unknown.filter(~pl.col("short")).group_by("file"):
                listed = group.select("row", "item").iter_rows()
                bad = [(r, log.item, Reason.UNKNOWN_ITEM, i) for r, i in listed]
                yield from report_rejects(INTERACTIONS, str(file), bad)
        else:
            yield report_count("interactions.unknown_item", len(unknown))
        if len(kept):
            yield kept.select(shuffle_columns(spec)).to_arrow()


def check_log(
    spec: FeatureSpec, rows: pa.Table, index: Iterable[tuple[BucketKey, TableRef]]
) -> Iterator[Any]:
    """Located tables of the log to the columns of the shuffle."""
    log = spec.interactions
    frame, bad, seen = parse_rows(spec, rows)
    for name, kinds in seen.items():
        yield TaggedOutput(SEEN, (name, kinds))
    kept, unknown = known_rows(spec, frame, lookups(index)[ITEMS])
    if log.unknown_items == "reject":
        listed = unknown.select("row", "item").iter_rows()
        bad += [(r, log.item, Reason.UNKNOWN_ITEM, i) for r, i in listed]
    else:
        yield report_count("interactions.unknown_item", len(unknown))
    yield report_count("interactions.bad", len(bad))
    yield from report_rejects(INTERACTIONS, file_of(rows), _with_short(bad, short_rows(rows)))
    if len(kept):
        yield with_tie(spec, kept).select(shuffle_columns(spec)).to_arrow()
