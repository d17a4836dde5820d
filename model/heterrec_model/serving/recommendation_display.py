"""A recommendation as tables for a person."""

from collections.abc import Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.serving.recommend import NESTED, Recommendation

_GAP = 3
"""Blanks between two columns."""
_NARROWEST = 8


def show_recommendation(console: Console, found: Recommendation, *, history: int = 10) -> None:
    """Print who it is for, the end of the history, and the recommended items.

    Args:
        console: where to print.
        found: what to print.
        history: how many of the last interactions, at least 1.
    """
    if found.user is not None:
        features = ", ".join(f"{name} {words}" for name, words in found.user_features.items())
        line = f"User {found.user}" + (f": {features}" if features else "")
        console.print(Text(line), soft_wrap=True)
    shown = found.history[-history:]
    title = f"History: {len(found.history):,} items"
    if len(shown) < len(found.history):
        title += f", the last {len(shown)} shown"
    if found.history_used < len(found.history):
        title += f"; the model saw the last {found.history_used}"
    first = [name for name in ("time", "behaviour") if name in shown[0]]
    console.print(Text(title), soft_wrap=True)
    console.print(_table(console.width, shown, [*first, "item"]))
    title = f"Recommended by {found.model}, {found.checkpoint}"
    if found.seen_filtered:
        title += ", items of the history left out"
    ranked = [
        {**item, "rank": str(rank), "score": f"{item['score']:.4f}"}
        for rank, item in enumerate(found.items, start=1)
    ]
    console.print(Text(title), soft_wrap=True)
    console.print(_table(console.width, ranked, ["rank", "item", "score"]))


def _table(width: int, items: Sequence[dict[str, Any]], first: Sequence[str]) -> Table:
    """Items in rows: what `first` names in full, then as many features as there is room for, cut to it."""
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
    """A cell before the features."""
    if column != "item":
        return str(item[column])
    return item["words"] if item["item_id"] is None else str(item["item_id"])


def _share(room: int, wanted: Sequence[int]) -> list[int]:
    """The widths of columns: the narrow ones get what they want, the others the rest in equal parts."""
    widths = list(wanted)
    left = room
    for done, column in enumerate(sorted(range(len(wanted)), key=lambda c: wanted[c])):
        fair = left // (len(wanted) - done) - _GAP
        widths[column] = max(min(wanted[column], fair), _NARROWEST)
        left -= widths[column] + _GAP
    return widths


def _fit(text: str, width: int) -> str:
    """A text cut to a width; of a path its end is kept."""
    if len(text) <= width:
        return text
    return "…" + text[1 - width :] if NESTED in text else text[: width - 1] + "…"
