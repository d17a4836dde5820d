"""What the commands print for a person once they are done."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from heterrec_model.training.loop import TrainResult

_METRICS = ("recall", "ndcg")


def training_json(result: "TrainResult") -> dict[str, Any]:
    """How a training ended, as plain values."""
    body = asdict(result)
    del body["main"]
    return {**body, "run": str(result.run), "seconds": round(result.seconds, 3)}


def print_training(console: Console, result: "TrainResult") -> None:
    """The best validation's metrics, and where the run stands."""
    if result.metrics:
        title = f"Validation, best at step {result.best_step:,}"
        console.print(_table(title, {"all targets": result.metrics}))
    where = f"step {result.step:,}, epochs done: {result.epoch}, {result.seconds:,.1f} s"
    if result.stopped is not None:
        line = f"{result.stopped}: saved and stopped at {where}. --resume goes on: {result.run}"
    else:
        line = f"Done: {where}. The run is {result.run}"
    console.print(line, highlight=False, soft_wrap=True)


def print_evaluation(console: Console, result: Mapping[str, Any]) -> None:
    """The metrics over all, the warm and the cold targets, and what was ranked."""
    seen = "filtered" if result["seen_filtered"] else "kept"
    title = f"{result['model']}, {result['checkpoint']}: {result['split']}, seen items {seen}"
    parts = {"all targets": result["metrics"], "warm": result["warm"], "cold": result["cold"]}
    console.print(_table(title, parts))
    told = [
        f"{result['users']:,} users, {result['targets']:,} targets, {result['catalogue']:,} items",
        f"generation {result['generation']}",
        f"{result['seconds']:.1f} s",
    ]
    if result["targets_without_row"]:
        told.insert(1, f"{result['targets_without_row']:,} targets without an item row (misses)")
    console.print("; ".join(told), highlight=False, soft_wrap=True)


def _table(title: str, parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row a part and metric, a column a k."""
    ks = _ks(next(iter(parts.values())))
    table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False)
    table.add_column("")
    for k in ks:
        table.add_column(f"@{k}", justify="right", no_wrap=True)
    for part, values in parts.items():
        for name in _METRICS:
            found = [values.get(f"{name}@{k}") for k in ks]
            if any(value is not None for value in found):
                cells = ("" if value is None else f"{value:.4f}" for value in found)
                table.add_row(f"{part}, {name}" if len(parts) > 1 else name, *cells)
    return table


def _ks(metrics: Mapping[str, Any]) -> Sequence[int]:
    return sorted({int(name.rpartition("@")[2]) for name in metrics if "@" in name})
