"""Evaluations and comparisons as tables for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.evaluation.bootstrap import Comparison
from heterrec_model.evaluation.metrics import PARTS
from heterrec_model.evaluation.sides import Beside

_SHORT = {"recall": "R", "ndcg": "N"}


def show_evaluations(
    console: Console, evaluations: Sequence[Mapping[str, Any]], *, parts: bool = True
) -> None:
    """Print evaluations beside each other, metrics in percent.

    Args:
        console: where to print.
        evaluations: JSON forms (`Evaluation.to_json()`, or what `evaluate` returns) of one split.
        parts: a line for the warm and the cold targets too, where there are both.
    """
    first = evaluations[0]
    filtered = "left out of the ranking" if first["seen_filtered"] else "kept in the ranking"
    title = f"{first['split']}, {first['catalogue']:,} items, seen ones {filtered}; in %"
    table = Table(box=box.SIMPLE, pad_edge=False)
    names = list(first["metrics"])
    for column in ("model", "targets", "users", *map(_heading, names)):
        text = column in ("model", "targets")
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    for found in evaluations:
        both = parts and bool(found["warm"]["users"]) and bool(found["cold"]["users"])
        for part in PARTS if both else PARTS[:1]:
            values = found["metrics"] if part == "all" else found[part]
            users = found["users"] if part == "all" else found[part]["users"]
            model = found["model"] if part == "all" else ""
            cells = [_percent(values.get(name)) for name in names]
            table.add_row(model, part, f"{users:,}", *cells)
    console.print(Text(title), soft_wrap=True)
    console.print(table)
    for found in evaluations:
        if found["targets_without_row"]:
            line = (
                f"{found['model']}: {found['targets_without_row']:,} of {found['targets']:,} targets "
                "have no row in the catalogue and count as misses"
            )
            console.print(Text(line), soft_wrap=True)


def show_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print what `compare` found, metrics in percent."""
    first = comparisons[0]
    title = f"paired bootstrap over {first.users:,} users, {first.part} targets; in %"
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("metric", "baseline", "candidate", "difference", "lift", "p"):
        table.add_column(column, justify="left" if column == "metric" else "right", no_wrap=True)
    for c in comparisons:
        lift = "" if c.lift is None else f"{c.lift:+.1%}"
        if c.lift_interval is not None:
            lift += f" ({c.lift_interval[0]:+.1%} to {c.lift_interval[1]:+.1%})"
        low, high = (100 * edge for edge in c.difference_interval)
        difference = f"{100 * c.difference:+.2f} ({low:+.2f} to {high:+.2f})"
        sides = (_percent(c.baseline), _percent(c.candidate))
        table.add_row(_heading(c.metric), *sides, difference, lift, f"{c.p:.4f}")
    console.print(Text(title), soft_wrap=True)
    console.print(table)


def show_sides(console: Console, found: Beside) -> None:
    """Print what `compare_sides` found: everybody's metrics, then the model against each of the others."""
    evaluations = [e.to_json() for s in (found.model, *found.others) for e in s.evaluations]
    show_evaluations(console, evaluations, parts=False)
    for side, comparisons in zip(found.others, found.comparisons, strict=True):
        console.print(
            Text(f"{found.model.name} (candidate) against {side.name} (baseline)"), soft_wrap=True
        )
        show_comparisons(console, comparisons)


def _heading(metric: str) -> str:
    """`R@10` for recall@10, `N@10` for ndcg@10."""
    name, _, k = metric.partition("@")
    return f"{_SHORT.get(name, name)}@{k}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
