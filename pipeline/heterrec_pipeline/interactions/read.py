"""Read the log and parse its rows."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from heterrec_pipeline.features.cells import cell_at
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.job import INTERACTIONS
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.batches import BadText
from heterrec_pipeline.reading.erased import NOTHING, Gate, read_live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import ROW, bad_text, file_of, located, one_chunk
from heterrec_pipeline.wiring.reports import RejectedCell, report_count, report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import column_text

LOG_SEEN = "interactions.user"
LOG_ITEM_SEEN = "interactions.item"


def log_columns(spec: FeatureSpec) -> list[str]:
    """The columns of the log that sequences use."""
    log = spec.interactions
    more = [log.behaviour.column] if log.behaviour else []
    more += [log.order] if log.order else []
    return list(dict.fromkeys([log.user, log.item, log.timestamp.column, *more]))


def orders(column: pa.Array, name: str) -> tuple[pl.Series, pl.Series]:
    """The `order` column as int64 (null where missing), and whether each cell is unreadable."""
    text, _ = column_text(column, name)
    number = text.cast(pl.Int64, strict=False)
    odd = text.is_not_null() & number.is_null()
    if odd.any():  # 5.0, +5, 1_000: whole numbers to Python
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
        The readable rows (user, item: text; time int64; behaviour int32, behaviour_text if declared; order int64 if
        declared), the bad ones (each with the first reason that applies), and the kinds of keys seen.
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
        columns = list(dict.fromkeys(column for _, _, column in when))
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


def read_log(
    columns: list[str], split: Split, *, gate: Gate = NOTHING, report: bool = True
) -> Iterator[Any]:
    """Splits of the log to located tables of raw columns, without erased rows; malformed rows are rejected."""
    for batch in prefetched(read_live(split, columns, gate)):
        if report:
            rows = len(batch.table) + len(batch.bad) + batch.erased
            yield report_count("interactions.read", rows)
            if gate.keys:
                yield report_count("interactions.erased", batch.erased)
            yield report_count("interactions.malformed", len(batch.bad))
            bad = [(b.row, "", b.reason, b.text) for b in batch.bad]
            yield from report_rejects(INTERACTIONS, split.file.name, bad)
        if len(batch.table):
            yield pa.Table.from_batches([located(batch, split)])
