"""The reference's log: events, splits, sequences."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from heterrec_schemas.testing.reference_values import (
    NUMBER,
    RawTable,
    Row,
    Stamp,
    check_key,
    is_integer_column,
    key_of,
    shown,
    stable_hash,
    text_of,
)

DAY = 86_400_000
END_OF_TIME = 7_258_118_400_000  # 2200-01-01
MILLISECONDS = {
    "s": Fraction(1000),
    "ms": Fraction(1),
    "us": Fraction(1, 1000),
    "ns": Fraction(1, 1_000_000),
    "day": Fraction(DAY),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Event:
    """One row of the log; what is missing or unreadable is None."""

    row: int
    raw: Row
    user: Any = None
    item: Any = None
    time: Any = None
    order: int | None = None
    event_id: str | None = None
    behaviour: int = 0
    behaviour_text: str = ""
    index: int = 0
    reason: str = ""
    """The reason, column and value of its reject; empty if it is not rejected."""
    column: str = ""
    value: str | None = None

    @property
    def order_key(self) -> tuple[int, int]:
        """Missing order sorts last."""
        return (1, 0) if self.order is None else (0, self.order)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Time, then order, then a hash of the interaction."""
        texts = [self.user, str(self.time), self.item]
        if self.behaviour:
            texts.append(self.behaviour_text)
        return self.time, self.order_key, stable_hash(*texts)

    def reject(self, column: str, reason: str) -> None:
        """Reject the event, unless an earlier reason exists."""
        if not self.reason:
            self.column, self.reason = column, reason
            self.value = shown(self.raw.get(column))


@dataclass
class Log:
    """The whole log."""

    integral_user: bool
    accepted: list[Event] = field(default_factory=list)
    rejected: list[Event] = field(default_factory=list)
    readable_items: list[Event] = field(default_factory=list)
    """Rows with a readable item and time, whatever else is wrong."""


def read_events(spec: Row, table: RawTable) -> Log:
    """Every row of the log, with its first reason of rejection."""
    for role in ("user", "item", "event_id"):
        if role in spec:
            check_key(spec[role], table.column(spec[role]))
    log = Log(integral_user=is_integer_column(table.column(spec["user"])))
    for position, raw in enumerate(table.rows):
        event = _read_event(spec, position, raw)
        (log.rejected if event.reason else log.accepted).append(event)
        if event.item is not None and event.time is not None:
            log.readable_items.append(event)
    return log


def _read_event(spec: Row, position: int, raw: Row | None) -> Event:
    event = Event(row=position, raw=raw or {})
    if raw is None:
        event.reason = "malformed_row"
        return event
    for side in ("user", "item"):
        text = key_of(raw.get(spec[side]), spec.get("missing_values", []))
        setattr(event, side, text)
        if text is None:
            event.reject(spec[side], "missing_key")

    if "event_id" in spec:
        event.event_id = key_of(raw.get(spec["event_id"]), spec.get("missing_values", []))
    time, reason = read_time(spec["timestamp"], raw.get(spec["timestamp"]["column"]))
    event.time = time
    if reason:
        event.reject(spec["timestamp"]["column"], reason)
    if "order" in spec:
        event.order, good = read_order(raw.get(spec["order"]))
        if not good:
            event.reject(spec["order"], "order_unreadable")
    if "behaviour" in spec:
        listed = [text_of(v) for v in spec["behaviour"]["values"]]
        text = text_of(raw.get(spec["behaviour"]["column"]))
        if text is not None and text in listed:
            event.behaviour, event.behaviour_text = 2 + listed.index(text), text
        else:
            event.reject(spec["behaviour"]["column"], "unknown_behaviour")
    return event


def without_dropped(spec: Row, table: RawTable) -> tuple[RawTable, int]:
    """The log without the rows that its policies drop, and their number; rows that end early stay."""

    def dropped(row: Row) -> bool:
        if spec.get("missing_user") == "drop":
            if key_of(row.get(spec["user"]), spec.get("missing_values", [])) is None:
                return True
        if spec.get("unlisted_behaviours") == "drop":
            listed = [text_of(v) for v in spec["behaviour"]["values"]]
            return text_of(row.get(spec["behaviour"]["column"])) not in listed
        return False

    kept = [
        k for k, row in enumerate(table.rows) if row is None or k in table.short or not dropped(row)
    ]
    return table.only(kept), len(table.rows) - len(kept)


def read_time(spec: Row, cell: Any) -> tuple[int | None, str]:
    """Milliseconds since 1970 UTC, floored; or None and the reason."""
    try:
        time = _parse_time(spec, cell)
    except (ValueError, OverflowError):
        return None, "time_unreadable"
    if not 0 <= time < END_OF_TIME:
        return None, "time_out_of_range"
    return time, ""


def _parse_time(spec: Row, cell: Any) -> int:
    if isinstance(cell, Stamp):
        return cell.milliseconds
    if isinstance(cell, date):
        return (cell - date(1970, 1, 1)).days * DAY
    if spec.get("unit") in MILLISECONDS:
        if isinstance(cell, bool) or cell is None:
            raise ValueError("no number")
        text = str(cell).strip()
        if not NUMBER.fullmatch(text):
            raise ValueError("no number")
        number = Decimal(text)
        if number.adjusted() > 40:
            return END_OF_TIME if number > 0 else -1
        if number.adjusted() < -40:
            return -1 if number < 0 else 0
        return int(Fraction(number) * MILLISECONDS[spec["unit"]] // 1)
    if not isinstance(cell, str):
        raise ValueError("no text")
    if "format" in spec:
        moment = datetime.strptime(cell.strip(), spec["format"])
    else:
        moment = datetime.fromisoformat(cell.strip().removesuffix(" UTC"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def read_order(cell: Any) -> tuple[int | None, bool]:
    """The order, None where missing; and whether it could be read."""
    text = text_of(cell)
    if text is None:
        return None, True
    found = re.fullmatch(r"(-?\d+)(\.0+)?", text, re.ASCII)
    if isinstance(cell, bool) or not found:
        return None, False
    number = int(found[1])
    return (number, True) if -(2**63) <= number < 2**63 else (None, False)
