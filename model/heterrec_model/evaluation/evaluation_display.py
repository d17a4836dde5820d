"""Evaluations and comparisons as tables on the console."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.evaluation.compare import ComparisonReport
from heterrec_model.evaluation.intervals import Comparison
from heterrec_model.evaluation.metrics import Part

_SHORT = {"recall": "R", "ndcg": "N"}
_PAIRS: tuple[tuple[Part, Part], ...] = (("warm", "cold"), ("repeated", "new"))


def show_evaluations(
    console: Console,
    evaluations: Sequence[Mapping[str, Any]],
    *,
    parts: bool = True,
    names: Sequence[str] | None = None,
) -> None:
    """Print evaluations of one split, as JSON, in one table: one column each, one row per metric, in percent.

    `parts` adds columns for the warm and the cold targets if both exist, likewise for repeated and new ones.
    Columns have the names of the models by default.
    """
    first = evaluations[0]
    filtered = "left out of the ranking" if first["seen_filtered"] else "kept in the ranking"
    title = f"{first['split']}, {_candidates(first)}, seen ones {filtered}; in %"
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("", no_wrap=True)
    columns: list[tuple[Mapping[str, Any], int]] = []
    for evaluation, name in zip(
        evaluations, names or [e["model"] for e in evaluations], strict=True
    ):
        shown = [part for pair in _PAIRS for part in pair if parts and _has_both(evaluation, pair)]
        for part in ("all", *shown):
            heading = f"{name}, {part}" if shown else name
            table.add_column(heading, justify="right", overflow="fold")
            metrics = evaluation["metrics"] if part == "all" else evaluation[part]
            columns.append((metrics, (evaluation if part == "all" else metrics)["users"]))
    for metric in first["metrics"]:
        table.add_row(_heading(metric), *(_percent(values.get(metric)) for values, _ in columns))
    table.add_row("users", *(f"{users:,}" for _, users in columns))
    console.print(Text(title), soft_wrap=True)
    console.print(table)
    show_lacks(console, evaluations, names)
    for line in dict.fromkeys(line for e in evaluations for line in _misses(e)):
        console.print(Text(line), soft_wrap=True)


def _has_both(evaluation: Mapping[str, Any], pair: tuple[Part, Part]) -> bool:
    """Whether both of two parts have targets."""
    return all(evaluation[part]["users"] for part in pair)


def _candidates(evaluation: Mapping[str, Any]) -> str:
    """The ranked items in words."""
    ranked, cold = (f"{evaluation[name]:,}" for name in ("candidates", "cold_candidates"))
    if evaluation["candidate_set"] == "all":
        return f"all {ranked} items ({cold} cold)"
    return f"{ranked} of {evaluation['catalogue']:,} items, those known at the cut ({cold} cold)"


def _misses(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Lines about targets that no ranking can find; they are equal for all models on the same users."""
    targets = evaluation["targets"]
    for name, what in (
        ("targets_unknown", "were not known at the cut"),
        ("targets_without_row", "have no row in the catalogue"),
    ):
        if count := evaluation[name]:
            share = f"{count:,} of {targets:,} targets ({count / targets:.1%})"
            yield f"{share} {what}: they are not ranked and count as misses"


def show_lacks(
    console: Console,
    evaluations: Sequence[Mapping[str, Any]],
    names: Sequence[str] | None = None,
) -> None:
    """Print which inputs of the generation each model lacks; models that lack the same share a line."""
    by_lacks: dict[str, list[str]] = {}
    for evaluation, name in zip(
        evaluations, names or [e["model"] for e in evaluations], strict=True
    ):
        by_lacks.setdefault("; ".join(evaluation["lacks"]), []).append(name)
    for lacks, models in by_lacks.items():
        if lacks:
            verb = "lacks" if len(models) == 1 else "lack"
            console.print(Text(f"{', '.join(models)} {verb}: {lacks}"), soft_wrap=True)


def show_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print comparisons of two models, metrics in percent."""
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
        means = (_percent(c.baseline), _percent(c.candidate))
        table.add_row(_heading(c.metric), *means, lift, interval, f"{c.p:.4f}")
    console.print(Text(title), soft_wrap=True)
    console.print(table)


def show_report(console: Console, report: ComparisonReport) -> None:
    """Print the metrics of all models, then the comparison with each baseline."""
    models = (report.model, *report.others)
    evaluations = [e.to_json() for model in models for e in model.evaluations]
    names = [name for model in models for name in model.name.split(",")]
    show_evaluations(console, evaluations, parts=False, names=names)
    for other, comparisons in zip(report.others, report.comparisons, strict=True):
        line = f"{report.model.name} (candidate) against {other.name} (baseline)"
        console.print(Text(line), soft_wrap=True)
        show_comparisons(console, comparisons)


def _heading(metric: str) -> str:
    """`R@10` for recall@10, `N@10` for ndcg@10."""
    name, _, k = metric.partition("@")
    return f"{_SHORT.get(name, name)}@{k}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
