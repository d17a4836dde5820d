"""A recommendation as tables on the console."""

from collections.abc import Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.recommending.catalogue import NESTED
from heterrec_model.serving.recommend import Recommendation

_GAP = 3
"""Number of blanks between two columns."""
_NARROWEST = 8
"""Minimum width of a feature column, in characters."""


def show_recommendation(console: Console, shown: Recommendation, *, history: int = 10) -> None:
    """Print the user, the last `history` interactions (at least 1), and the recommended items."""
    if shown.user is not None:
        features = ", ".join(f"{name} {words}" for name, words in shown.user_features.items())
        line = f"User {shown.user}" + (f": {features}" if features else "")
        console.print(Text(line), soft_wrap=True)
    events = shown.history[-history:]
    title = f"History: {len(shown.history):,} items"
    if len(events) < len(shown.history):
        title += f", the last {len(events)} shown"
    if shown.history_used < len(shown.history):
        title += f"; the model read the last {shown.history_used}"
    first = [name for name in ("time", "behaviour") if name in events[0]]
    console.print(Text(title), soft_wrap=True)
    console.print(_table(console.width, events, [*first, "item"]))
    title = f"Recommended by {shown.model}, {shown.checkpoint}"
    if shown.fallback is not None:
        title = "Popular items" + (f" of {shown.segment}" if shown.segment else "")
    if shown.seen_filtered:
        title += ", items of the history left out"
    ranked = [
        {**item, "rank": str(rank), "score": f"{item['score']:.4f}"}
        for rank, item in enumerate(shown.items, start=1)
    ]
    console.print(Text(title), soft_wrap=True)
    console.print(_table(console.width, ranked, ["rank", "item", "score"]))


def _table(width: int, items: Sequence[dict[str, Any]], first: Sequence[str]) -> Table:
    """One item per row: the columns `first` in full, then as many features as fit, truncated to the width."""
    names = list(dict.fromkeys(name for item in items for name in item["features"]))
    heads = [[_head(item, column) for column in first] for item in items]
    full = [max(map(len, column)) for column in zip(first, *heads, strict=True)]
    used = sum(full) + _GAP * len(full)
    names = names[: max(1, (width - used - 2) // (_NARROWEST + _GAP))]
    texts = [[item["features"].get(name, "") for name in names] for item in items]
    wanted = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
    widths = _share(width - used - 2, wanted)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column, room in zip(first, full, strict=True):
        side: Literal["left", "right"] = "right" if column in ("rank", "score") else "left"
        table.add_column(Text(column), no_wrap=True, justify=side, min_width=room)
    for name, room in zip(names, widths, strict=True):
        table.add_column(Text(name), no_wrap=True, max_width=room)
    for head, row in zip(heads, texts, strict=True):
        fitting = [_fit(text, room) for text, room in zip(row, widths, strict=True)]
        table.add_row(*map(Text, (*head, *fitting)))
    return table


def _head(item: dict[str, Any], column: str) -> str:
    """A cell of one of the first columns."""
    if column != "item":
        return str(item[column])
    return item["words"] if item["item_id"] is None else str(item["item_id"])


def _share(room: int, wanted: Sequence[int]) -> list[int]:
    """Widths of columns: narrow columns get the wanted width, the others share the rest equally."""
    widths = list(wanted)
    left = room
    for done, column in enumerate(sorted(range(len(wanted)), key=lambda c: wanted[c])):
        fair = left // (len(wanted) - done) - _GAP
        widths[column] = max(min(wanted[column], fair), _NARROWEST)
        left -= widths[column] + _GAP
    return widths


def _fit(text: str, width: int) -> str:
    """A text truncated to a width; a path keeps its end."""
    if len(text) <= width:
        return text
    return "…" + text[1 - width :] if NESTED in text else text[: width - 1] + "…"
