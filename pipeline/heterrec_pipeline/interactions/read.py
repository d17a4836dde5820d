"""Read the log and parse its rows."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.features.cells import cell_at
from heterrec_pipeline.files.rejects import RejectedCell
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.keys.read import SEEN, rejected, shortened
from heterrec_pipeline.reading.batches import BadText, one_chunk
from heterrec_pipeline.reading.digests import Digested, DigestWriter, digest_of, digested
from heterrec_pipeline.reading.erased import Gate, read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.key_text import key_text
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import ROW, bad_text, file_of, located, short_rows
from heterrec_pipeline.wiring.reports import (
    report_count,
    report_file,
    report_rejects,
)
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import SEPARATOR, hash_column
from heterrec_schemas.rejects import Reason
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import is_text

LOG_SEEN = "interactions.user"
LOG_ITEM_SEEN = "interactions.item"
WHOLE = r"^([+-]?[0-9]+)\.0+$"
"""A decimal number without a fraction."""


def log_columns(spec: FeatureSpec) -> list[str]:
    """The columns of the log that sequences use."""
    log = spec.interactions
    more = [log.behaviour.column] if log.behaviour else []
    more += [log.order] if log.order else []
    more += [log.event_id] if log.event_id else []
    return list(dict.fromkeys([log.user, log.item, log.timestamp.column, *more]))


def required_columns(spec: FeatureSpec) -> list[str]:
    """The columns without which every row of a file of the log would be rejected."""
    log = spec.interactions
    optional = [log.order, log.event_id, log.user if log.missing_user == "drop" else None]
    return [c for c in log_columns(spec) if c not in optional]


def orders(column: pa.Array, name: str) -> tuple[pl.Series, pl.Series]:
    """The `order` column as int64 (null where missing), and whether each cell is unreadable."""
    text, _ = column_text(column, name)
    number = text.cast(pl.Int64, strict=False)
    odd = text.is_not_null() & number.is_null()
    if odd.any():  # 5.0, as pandas writes the integers of a column with gaps
        text = text.str.replace(WHOLE, "$1")
        number = text.cast(pl.Int64, strict=False)
        odd = text.is_not_null() & number.is_null()
    if odd.any():  # +5, 1_000: whole numbers to Python
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
    """Parse every column of a batch of the log.

    Args:
        spec: names the columns.
        rows: a located table of the raw columns.

    Returns:
        The readable rows (user, item: text; time int64; and if declared behaviour int32, behaviour_text, order int64, and
        event: text, null where missing), the bad ones (each with the first reason that applies), and the kinds of keys seen.
    """
    log = spec.interactions
    name, missing = file_of(rows), log.missing_values
    keys = partial(key_text, file=name, missing_values=missing, quoted=spec.quotes_cells)
    user, user_seen = keys(one_chunk(rows, log.user), log.user)
    item, item_seen = keys(one_chunk(rows, log.item), log.item)
    time = milliseconds(one_chunk(rows, log.timestamp.column), log.timestamp)
    columns = {"row": pl.Series(rows[ROW]), "user": user, "item": item, "time": time}
    if log.order is not None:
        columns["order"], columns["odd_order"] = orders(one_chunk(rows, log.order), log.order)
    if log.behaviour is not None:
        text, _ = column_text(one_chunk(rows, log.behaviour.column), log.behaviour.column)
        ids = {v: k + 2 for k, v in enumerate(log.behaviour.values)}
        columns["behaviour_text"] = text
        columns["behaviour"] = text.replace_strict(ids, default=None, return_dtype=pl.Int32)
    if log.event_id is not None:
        columns["event"], _ = keys(one_chunk(rows, log.event_id), log.event_id)
    frame = pl.DataFrame(columns).with_columns(reason=_first_reason(spec, bad_text(rows)))
    is_bad = frame["reason"].is_not_null()
    seen = {LOG_SEEN: int(user_seen), LOG_ITEM_SEEN: int(item_seen)}
    bad = _reject_entries(frame.filter(is_bad), is_bad.arg_true().to_list(), rows)
    return frame.filter(~is_bad).drop("reason", "odd_order", strict=False), bad, seen


def _first_reason(spec: FeatureSpec, bad_text: BadText) -> pl.Expr:
    """`reason/column` of the first reason to reject a row; null for a good row."""
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
    if bad_text:  # before the reason of a null, which the cell is now
        columns = list(dict.fromkeys([*(c for _, _, c in when), *filter(None, [log.event_id])]))
        order = {column: k for k, column in enumerate(columns)}
        spoiled = [
            (col("row").is_in(list(bad_text[c])), Reason.NOT_UTF8, c)
            for c in columns
            if c in bad_text
        ]
        when = sorted([*spoiled, *when], key=lambda reason: order[reason[2]])
    return pl.coalesce(pl.when(bad).then(pl.lit(f"{why}/{where}")) for bad, why, where in when)


def _reject_entries(frame: pl.DataFrame, at: list[int], rows: pa.Table) -> list[RejectedCell]:
    bad: list[RejectedCell] = []
    texts = bad_text(rows)
    for k, row, why in zip(at, frame["row"].to_list(), frame["reason"].to_list(), strict=True):
        reason, _, column = why.partition("/")
        spoiled = reason == Reason.NOT_UTF8
        value = texts[column][row] if spoiled else cell_at(rows[column], k)
        bad.append((row, column, Reason(reason), value))
    return bad


class LogBatch(NamedTuple):
    """A batch of the log.

    Attributes:
        rows: a located table of raw columns, without erased rows.
        read: number of rows, those that are malformed, erased or filtered included.
        erased: number of erased rows.
        filtered: number of rows that the spec leaves out.
        malformed: the rejects of malformed rows.
    """

    rows: pa.Table
    read: int
    erased: int
    filtered: int
    malformed: list[RejectedCell]


def log_batches(columns: list[str], split: Split, gate: Gate) -> Iterator[LogBatch]:
    """Parse a split of the log to located tables of raw columns."""
    for batch in prefetched(read_live(split, columns, gate)):
        bad: list[RejectedCell] = [(b.row, b.column, b.reason, b.text) for b in batch.bad]
        rows = pa.Table.from_batches([located(batch, split)])
        yield LogBatch(rows, batch.read, batch.erased, batch.filtered, bad)


def read_log(job: Job, split: Split, *, coded: bool) -> Iterator[Any]:
    """Splits of the log to readable rows for the join with the items.

    Args:
        job: the build.
        split: a piece of the log.
        coded: whether the items are a dictionary.

    Yields:
        Tables of the item, the columns of the shuffle and, where rows can still be rejected, their location. Tagged `SEEN`:
        kinds of keys.
    """
    path = digest_of(split, job.reading)
    if path is not None:
        for rows, about in digested(path):
            yield from _reported(job, split, rows, about, 0, coded=coded)
        return
    writer = DigestWriter(job.root, job.reading, split)
    for batch in log_batches(log_columns(job.spec), split, job.log_gate):
        frame, bad, seen = parse_rows(job.spec, batch.rows)
        short = short_rows(batch.rows)
        listed = [b for b in bad if b[0] not in short]
        listed += [(row, "", Reason.MALFORMED_ROW, text) for row, text in short.items()]
        about = {
            "read": batch.read,
            "filtered": batch.filtered,
            "malformed": len(batch.malformed),
            "rejected": len(bad),
            "bad": shortened(job.rejects.told([*batch.malformed, *listed])),
            "seen": seen,
        }
        rows = log_rows(job.spec, frame, short)
        masked = bool(job.log_gate) and bool(about["bad"])
        writer.add(Digested(rows, about), erased=bool(batch.erased) or masked)
        yield from _reported(job, split, rows, about, batch.erased, coded=coded)
    yield from (report_file(file) for file in writer.finish())


def log_rows(
    spec: FeatureSpec, frame: pl.DataFrame, short: Mapping[int, str | None]
) -> pa.RecordBatch:
    """Readable rows as a digest has them: the item is a dictionary."""
    frame = with_event(spec, with_tie(spec, frame))
    columns = [c for c in shuffle_columns(spec) if c not in ("item_index", "item_hash")]
    if spec.interactions.unknown_items == "reject":
        frame = frame.with_columns(
            short=frame["row"].is_in(pl.Series(list(short), dtype=pl.Int64).implode())
        )
        columns += ["row", "short"]
    items = frame["item"].to_arrow().cast(pa.large_string()).dictionary_encode()
    rest = frame.select(columns).to_arrow().combine_chunks()
    arrays = [one_chunk(rest, name) for name in columns]
    arrays = [a.cast(pa.large_string()) if is_text(a.type) else a for a in arrays]
    return pa.RecordBatch.from_arrays([items, *arrays], names=["item", *columns])


def _reported(
    job: Job, split: Split, rows: pa.RecordBatch, about: dict[str, Any], erased: int, *, coded: bool
) -> Iterator[Any]:
    """The reports on a batch, and its rows."""
    yield report_count("interactions.read", about["read"])
    if job.log_gate.keys:
        yield report_count("interactions.erased", erased)
    if filtered := about.get("filtered"):
        yield report_count("interactions.filtered", filtered)
    yield report_count("interactions.malformed", about["malformed"])
    yield report_count("interactions.bad", about["rejected"])
    yield from report_rejects(INTERACTIONS, split.file.name, rejected(about["bad"]))
    yield from (TaggedOutput(SEEN, kinds) for kinds in about["seen"].items())
    if not len(rows):
        return
    table = pa.Table.from_batches([rows])
    if not coded:
        table = table.set_column(0, "item", table["item"].cast(pa.large_string()))
    if job.spec.interactions.unknown_items == "reject":
        names = pa.array(np.zeros(len(rows), np.int32))
        file = pa.DictionaryArray.from_arrays(names, pa.array([split.file.name]))
        table = table.append_column("file", file.dictionary_decode())
    yield table


def with_tie(spec: FeatureSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Add the hash that breaks ties in time: of user, time, item and, if declared, the behaviour's text."""
    parts = ["user", pl.col("time").cast(pl.String), "item"]
    if spec.interactions.behaviour is not None:
        parts.append("behaviour_text")
    return frame.with_columns(tie=pl.concat_str(parts, separator=SEPARATOR)).with_columns(
        tie=hash_column("tie")
    )


def with_event(spec: FeatureSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Replace the text of the event id, if declared, by its hash; null where it is missing."""
    return (
        frame
        if spec.interactions.event_id is None
        else frame.with_columns(event=hash_column("event"))
    )


def shuffle_columns(spec: FeatureSpec) -> list[str]:
    """The columns that go through the shuffle by user."""
    log = spec.interactions
    more = ["behaviour"] if log.behaviour else []
    more += ["order"] if log.order else []
    more += ["event"] if log.event_id else []
    more += ["item_hash"] if log.unknown_items == "oov" else []
    return ["user", "item_index", "time", "tie", *more]
