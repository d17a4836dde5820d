"""Evaluations and comparisons as tables for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.evaluation.compare import ComparisonReport
from heterrec_model.evaluation.intervals import Comparison
from heterrec_model.evaluation.metrics import PARTS

_SHORT = {"recall": "R", "ndcg": "N"}


def show_evaluations(
    console: Console,
    evaluations: Sequence[Mapping[str, Any]],
    *,
    parts: bool = True,
    names: Sequence[str] | None = None,
) -> None:
    """Print evaluations beside each other: a column each, a row a metric, in percent.

    Args:
        console: where to print.
        evaluations: JSON forms (`Evaluation.to_json()`, or what `evaluate` returns) of one split.
        parts: a column for the warm and the cold targets too, where there are both.
        names: of the columns; left out: the models'.
    """
    first = evaluations[0]
    filtered = "left out of the ranking" if first["seen_filtered"] else "kept in the ranking"
    title = f"{first['split']}, {first['catalogue']:,} items, seen ones {filtered}; in %"
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("", no_wrap=True)
    columns: list[tuple[Mapping[str, Any], int]] = []
    for place, found in enumerate(evaluations):
        both = parts and bool(found["warm"]["users"]) and bool(found["cold"]["users"])
        for part in PARTS if both else PARTS[:1]:
            name = found["model"] if names is None else names[place]
            table.add_column(f"{name}, {part}" if both else name, justify="right", overflow="fold")
            if part == "all":
                columns.append((found["metrics"], found["users"]))
            else:
                columns.append((found[part], found[part]["users"]))
    for metric in first["metrics"]:
        table.add_row(_heading(metric), *(_percent(values.get(metric)) for values, _ in columns))
    table.add_row("users", *(f"{users:,}" for _, users in columns))
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
    for column in ("metric", "baseline", "candidate", "lift", "95% of resamples", "p"):
        table.add_column(column, justify="left" if column == "metric" else "right", no_wrap=True)
    for c in comparisons:
        lift = "" if c.lift is None else f"{c.lift:+.1%}"
        interval = ""
        if c.lift_interval is not None:
            interval = f"{c.lift_interval[0]:+.1%} to {c.lift_interval[1]:+.1%}"
        sides = (_percent(c.baseline), _percent(c.candidate))
        table.add_row(_heading(c.metric), *sides, lift, interval, f"{c.p:.4f}")
    console.print(Text(title), soft_wrap=True)
    console.print(table)


def show_report(console: Console, found: ComparisonReport) -> None:
    """Print what `compare_models` found: everybody's metrics, then the model against each of the others."""
    sides = (found.model, *found.others)
    evaluations = [e.to_json() for side in sides for e in side.evaluations]
    names = [name for side in sides for name in side.name.split(",")]
    show_evaluations(console, evaluations, parts=False, names=names)
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
