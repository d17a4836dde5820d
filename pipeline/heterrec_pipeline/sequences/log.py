"""Check the rows of the log and join them with the item index: what is left is four numbers and a user a row."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.catalogue.keys import SEEN, key_text
from heterrec_pipeline.catalogue.long import bucket_ids
from heterrec_pipeline.catalogue.rows import ids_in
from heterrec_pipeline.features.cells import cell_at
from heterrec_pipeline.job import INTERACTIONS, ITEMS
from heterrec_pipeline.lookup import Lookup
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing.ledger import RejectedCell, counted, rejected
from heterrec_pipeline.publishing.parts import Stored, opened
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import (
    ROW,
    file_of,
    located,
    one_chunk,
    prefetched,
    read_split,
    short_rows,
)
from heterrec_pipeline.sequences.times import milliseconds
from heterrec_pipeline.vocabularies.buckets import as_frame
from heterrec_pipeline.worker_errors import carried
from heterrec_schemas.hashing import SEPARATOR, hash_column, hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.spec import FeatureSpec
from heterrec_schemas.values import column_text

LOG_SEEN = "interactions.user"
LOG_ITEM_SEEN = "interactions.item"


def log_columns(spec: FeatureSpec) -> list[str]:
    """The columns of the log that sequences are made of."""
    log = spec.interactions
    more = [log.behaviour.column] if log.behaviour else []
    more += [log.order] if log.order else []
    return list(dict.fromkeys([log.user, log.item, log.timestamp.column, *more]))


def orders(column: pa.Array, name: str) -> tuple[pl.Series, pl.Series]:
    """The `order` column: int64 with null where missing, and which cells are unreadable."""
    text, _ = column_text(column, name)
    number = text.cast(pl.Int64, strict=False)
    odd = text.is_not_null() & number.is_null()
    if odd.any():  # 5.0, +5, 1_000: what Python reads as a whole number
        for k in odd.arg_true().to_list():
            try:
                value = int(str(text[k]))
                number[k] = value if -(2**63) <= value < 2**63 else None
            except ValueError:
                continue
        odd = text.is_not_null() & number.is_null()
    return number, odd


def parse_rows(
    spec: FeatureSpec, rows: pa.Table
) -> tuple[pl.DataFrame, list[RejectedCell], dict[str, int]]:
    """Read every column of a batch of the log.

    Args:
        spec: names the columns.
        rows: a located table of the raw columns.

    Returns:
        The readable rows (user, item: text; time int64; behaviour int32, behaviour_text if declared; order int64 if
        declared), the bad ones (each under the first reason that holds), and what kinds of keys were seen.
    """
    log = spec.interactions
    name = file_of(rows)
    user, user_seen = key_text(one_chunk(rows, log.user), log.user, name)
    item, item_seen = key_text(one_chunk(rows, log.item), log.item, name)
    time = milliseconds(one_chunk(rows, log.timestamp.column), log.timestamp)
    columns = {"row": pl.Series(rows[ROW]), "user": user, "item": item, "time": time}
    if log.order is not None:
        columns["order"], columns["odd_order"] = orders(one_chunk(rows, log.order), log.order)
    if log.behaviour is not None:
        text, _ = column_text(one_chunk(rows, log.behaviour.column), log.behaviour.column)
        ids = {v: k + 2 for k, v in enumerate(log.behaviour.values)}
        columns["behaviour_text"] = text
        columns["behaviour"] = text.replace_strict(ids, default=None, return_dtype=pl.Int32)
    frame = pl.DataFrame(columns).with_columns(reason=_first_reason(spec))
    strange = frame["reason"].is_not_null()
    seen = {LOG_SEEN: int(user_seen), LOG_ITEM_SEEN: int(item_seen)}
    bad = _described(frame.filter(strange), strange.arg_true().to_list(), rows)
    return frame.filter(~strange).drop("reason", "odd_order", strict=False), bad, seen


def _first_reason(spec: FeatureSpec) -> pl.Expr:
    """Why a row is bad, as `reason/column`, under the first reason that holds; null where it is good."""
    log = spec.interactions
    col = pl.col
    when = [
        (col("user").is_null(), Reason.MISSING_KEY, log.user),
        (col("item").is_null(), Reason.MISSING_KEY, log.item),
        (col("time").is_null(), Reason.TIME_UNREADABLE, log.timestamp.column),
        (col("time") < 0, Reason.TIME_OUT_OF_RANGE, log.timestamp.column),
    ]
    if log.order is not None:
        when.append((col("odd_order"), Reason.ORDER_UNREADABLE, log.order))
    if log.behaviour is not None:
        unknown = col("behaviour").is_null()
        when.append((unknown, Reason.UNKNOWN_BEHAVIOUR, log.behaviour.column))
    return pl.coalesce(pl.when(bad).then(pl.lit(f"{why}/{where}")) for bad, why, where in when)


def _described(frame: pl.DataFrame, at: list[int], rows: pa.Table) -> list[RejectedCell]:
    bad: list[RejectedCell] = []
    for k, row, why in zip(at, frame["row"].to_list(), frame["reason"].to_list(), strict=True):
        reason, _, column = why.partition("/")
        bad.append((row, column, Reason(reason), cell_at(rows[column], k)))
    return bad


def _with_short(bad: list[RejectedCell], short: dict[int, str]) -> list[RejectedCell]:
    """Rows that ended early are listed as such, whether or not enough of them was left to be kept."""
    listed: list[RejectedCell] = [
        (row, "", Reason.MALFORMED_ROW, text) for row, text in short.items()
    ]
    return [b for b in bad if b[0] not in short] + listed if short else bad


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


class ReadLog(beam.DoFn):
    """Splits of the log to located tables of raw columns; malformed rows are set aside."""

    def __init__(self, columns: list[str], report: bool = True) -> None:
        """Read some columns; a second reading of the log reports nothing."""
        self.columns, self.report = columns, report

    @carried
    def process(self, split: Split) -> Iterator[Any]:
        """Read one split."""
        for batch in prefetched(read_split(split, self.columns)):
            if self.report:
                rows = len(batch.table) + len(batch.bad)
                METER.read(INTERACTIONS, rows)
                yield counted("interactions.read", rows)
                yield counted("interactions.malformed", len(batch.bad))
                bad = [(b.row, "", b.reason, b.text) for b in batch.bad]
                yield from rejected(INTERACTIONS, split.file.name, bad)
            if len(batch.table):
                yield located(batch, split)


class CheckRows(beam.DoFn):
    """Located tables of the log to readable rows, for a catalogue whose index no worker holds: (items, rows).

    What `JoinItems` needs is all that goes on: of the behaviour its id, the tie, and where rows stand if it may reject them.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        """Check the log of one spec."""
        self.spec = spec

    @carried
    def process(self, rows: pa.Table) -> Iterator[Any]:
        """Check one batch."""
        log = self.spec.interactions
        frame, bad, seen = parse_rows(self.spec, rows)
        for name, kinds in seen.items():
            yield TaggedOutput(SEEN, (name, kinds))
        short = short_rows(rows)
        yield counted("interactions.bad", len(bad))
        yield from rejected(INTERACTIONS, file_of(rows), _with_short(bad, short))
        if frame.is_empty():
            return
        columns = [c for c in shuffle_columns(self.spec) if c not in ("item_index", "item_hash")]
        frame = with_tie(self.spec, frame)
        if log.unknown_items == "reject":
            ended = pl.Series(list(short), dtype=pl.Int64).implode()
            frame = frame.with_columns(file=pl.lit(file_of(rows)), short=frame["row"].is_in(ended))
            columns += ["file", "row", "short"]
        yield ITEMS, frame.select("item", *columns).to_arrow()


class JoinItems(beam.DoFn):
    """A bucket's item ids and the rows of the log that name its items, to the columns of the shuffle."""

    def __init__(self, spec: FeatureSpec) -> None:
        """Join the log of one spec."""
        self.spec = spec

    @carried
    def process(self, element: tuple[Any, dict[str, Iterable[Any]]]) -> Iterator[Any]:
        """Join one bucket, a piece at a time."""
        log = self.spec.interactions
        _, pieces = element
        METER.enter("joining interactions")
        index = bucket_ids(pieces["ids"])
        for piece in pieces["log"]:
            kept, unknown = known_rows(self.spec, as_frame(opened(piece)), index)
            if log.unknown_items == "reject":
                yield counted("interactions.bad", len(unknown))
                # A row that ended early is listed as such already.
                for (file,), group in unknown.filter(~pl.col("short")).group_by("file"):
                    listed = group.select("row", "item").iter_rows()
                    bad = [(r, log.item, Reason.UNKNOWN_ITEM, i) for r, i in listed]
                    yield from rejected(INTERACTIONS, str(file), bad)
            else:
                yield counted("interactions.unknown_item", len(unknown))
            if len(kept):
                yield kept.select(shuffle_columns(self.spec)).to_arrow()


class CheckLog(beam.DoFn):
    """Located tables of the log to the columns of the shuffle."""

    def __init__(self, spec: FeatureSpec) -> None:
        """Check the log of one spec."""
        self.spec = spec

    @carried
    def process(self, rows: pa.Table, index: pa.Table | Stored) -> Iterator[Any]:
        """Check one batch."""
        log = self.spec.interactions
        frame, bad, seen = parse_rows(self.spec, rows)
        for name, kinds in seen.items():
            yield TaggedOutput(SEEN, (name, kinds))
        kept, unknown = known_rows(self.spec, frame, ids_in(index))
        if log.unknown_items == "reject":
            listed = unknown.select("row", "item").iter_rows()
            bad += [(r, log.item, Reason.UNKNOWN_ITEM, i) for r, i in listed]
        else:
            yield counted("interactions.unknown_item", len(unknown))
        yield counted("interactions.bad", len(bad))
        yield from rejected(INTERACTIONS, file_of(rows), _with_short(bad, short_rows(rows)))
        if len(kept):
            yield with_tie(self.spec, kept).select(shuffle_columns(self.spec)).to_arrow()


__all__ = [
    "LOG_ITEM_SEEN",
    "LOG_SEEN",
    "CheckLog",
    "CheckRows",
    "JoinItems",
    "ReadLog",
    "known_rows",
    "log_columns",
    "parse_rows",
    "shuffle_columns",
    "with_tie",
]
