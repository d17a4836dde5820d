"""A recommendation as tables for a person."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from heterrec_model.recommend import Recommendation


def show_recommendation(console: Console, found: Recommendation, *, history: int = 10) -> None:
    """Print who it is for, the end of the history, and the recommended items.

    Args:
        console: where to print.
        found: what to print.
        history: how many of the last interactions.
    """
    if found.user is not None:
        features = ", ".join(f"{name} {words}" for name, words in found.user_features.items())
        line = f"User {found.user}" + (f": {features}" if features else "")
        console.print(line, markup=False, highlight=False)
    shown = found.history[-history:]
    title = f"History: {len(found.history):,} items"
    if len(shown) < len(found.history):
        title += f", the last {len(shown)} shown"
    if found.history_used < len(found.history):
        title += f"; the model saw the last {found.history_used}"
    extra = [name for name in ("time", "behaviour") if name in shown[0]]
    console.print(_table(title, shown, before=extra))
    title = f"Recommended by {found.model}, {found.checkpoint}"
    if found.seen_filtered:
        title += ", items of the history left out"
    ranked = [
        {**item, "#": str(rank), "score": f"{item['score']:.4f}"}
        for rank, item in enumerate(found.items, start=1)
    ]
    console.print(_table(title, ranked, before=["#"], after=["score"]))


def _table(
    title: str,
    items: Sequence[dict[str, Any]],
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Table:
    """Items in rows, their features in columns; what does not fit on the screen is cut with dots."""
    names = _first_seen(name for item in items for name in item["features"])
    table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False)
    for column in (*before, "item", *after):
        table.add_column(
            column, no_wrap=True, justify="right" if column in ("#", "score") else "left"
        )
    for name in names:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for item in items:
        key = item["words"] if item["item_id"] is None else str(item["item_id"])
        features = [item["features"].get(name, "") for name in names]
        cells = [*(item[c] for c in before), key, *(item[c] for c in after), *features]
        table.add_row(*(_plain(cell) for cell in cells))
    return table


def _first_seen(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _plain(cell: str) -> str:
    """Text that rich takes as it is: brackets are no markup."""
    return cell.replace("[", "\\[")
