"""Console output at the end of a run."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_model.training.progress import TrainResult


def show_result(console: Console, result: TrainResult) -> None:
    """Print the metrics of the best validation and the final state of the run."""
    if result.metrics:
        ks = sorted({int(name.rpartition("@")[2]) for name in result.metrics})
        title = Text(f"Validation, best at step {result.best_step:,}; in %")
        table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False)
        for column in ("", *(f"@{k}" for k in ks)):
            table.add_column(column, justify="right" if column else "left", no_wrap=True)
        for name in ("recall", "ndcg"):
            table.add_row(name, *(f"{100 * result.metrics[f'{name}@{k}']:.2f}" for k in ks))
        console.print(table)
    for state in ("closed", "open"):
        if gates := [gate for gate, now in result.stuck_gates.items() if now == state]:
            line = f"Gates nearly always {state}: {', '.join(gates)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    at = f"step {result.step:,}, epochs done: {result.epoch}, {result.seconds:,.1f} s"
    if result.stopped is not None:
        line = f"{result.stopped}: saved and stopped at {at}. Continue with --resume: {result.run}"
    else:
        line = f"Done: {at}. Run folder: {result.run}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
