"""What a time that cannot be read, or that reads as an unlikely date, may have been written as."""

import re
from datetime import UTC, datetime, timedelta

from heterrec_pipeline.reading.spec_lines import derived

LONG_AGO_MS = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""Times before it are unlikely, in milliseconds."""
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "day": 86_400.0}
_SHEET_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
"""Day 0 of spreadsheets."""
_SHEET_DAYS = 25_569
"""Days from there to 1970."""
_NUMBER = re.compile(r"\s*\d+(\.\d*)?\s*")
_FORMS = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y/%m/%d"),
    *("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d %H%M%S"),
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y", "%d/%m/%Y %H:%M"),
    *("%d/%m/%Y %H:%M:%S", "%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S"),
    *("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%d-%m-%Y", "%d-%m-%Y %H:%M:%S", "%d-%b-%Y"),
    *("%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d/%b/%Y:%H:%M:%S %z"),
    *("%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"),
    *("%a %b %d %H:%M:%S %z %Y", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d-%H.%M.%S.%f"),
)


def units_in_words(text: str, column: str, now: datetime) -> str:
    """What a number means in each unit, and the unit to write; empty for other texts.

    Args:
        text: the number.
        column: its column.
        now: the present time; a likely time is between 1990 and tomorrow.
    """
    if not _NUMBER.fullmatch(text):
        return ""
    number = float(text)
    found = {unit: _date(number * factor) for unit, factor in _UNITS.items()}
    words = ", ".join(f"{moment:%Y-%m-%d} as {unit}" for unit, moment in found.items() if moment)
    likely = [unit for unit, moment in found.items() if moment and is_likely(moment, now)]
    sheet = _sheet_day(number)
    hint = f"; {text.strip()} means {words}" if words else ""
    if len(likely) == 1 and (sheet is None or not is_likely(sheet, now)):
        hint += f". Write unit: {likely[0]}"
    elif sheet is not None and is_likely(sheet, now):
        line = derived(column, f"CAST({{}} AS DOUBLE) - {_SHEET_DAYS}")
        hint += f". As a day of a spreadsheet (Excel) it is {sheet:%Y-%m-%d}: write unit: day, and into the source {line}"
    return hint


def form_in_words(text: str, column: str, now: datetime) -> str | None:
    """How a time that could not be read may be read; None if nothing is known about it."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return units_in_words(text, column, now).removeprefix("; ") or None
    try:
        datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        pass
    else:
        return "this is ISO 8601: write unit: iso"
    fitting = [form for form in _FORMS if _reads(text, form)]
    if not fitting:
        return None
    # A day above 12 cannot be a month, so another row may decide between the first two.
    return "this looks like " + " or ".join(f'format: "{form}"' for form in fitting[:2])


def is_likely(moment: datetime, now: datetime) -> bool:
    """Whether a time is between 1990 and tomorrow."""
    return LONG_AGO_MS <= moment.timestamp() * 1000 <= (now + timedelta(days=1)).timestamp() * 1000


def _date(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds < 7_258_118_400 else None  # 2200


def _sheet_day(number: float) -> datetime | None:
    return _SHEET_EPOCH + timedelta(days=number) if 20_000 <= number < 80_000 else None


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True
