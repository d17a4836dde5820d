"""The figures of a study, as small SVG files; needs matplotlib (extra `study`).

Each figure is of the first protocol of a data set's test split. Markers differ as well as colours,
so that the figures can be read in black and white. Equal rows give equal bytes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from heterrec_model.runs.atomic_files import writing
from heterrec_model.studies.plan import settings_of
from heterrec_model.studies.reporting.intervals import LEVEL, Estimate
from heterrec_model.studies.reporting.results import ModelResult, Table
from heterrec_model.studies.reporting.tables import shown
from heterrec_model.studies.study_file import Study, StudyModel
from heterrec_schemas.pages.charts import COLOURS, LINES, MARKERS, STYLE
from heterrec_schemas.stores.disk import make_folder

FIGURES = "figures"


def write_figures(study: Study, tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write the figures that the rows allow.

    Args:
        study: the study.
        tables: its results; of each data set the first table is shown.
        folder: where the figures go; figures of earlier calls are replaced or removed.

    Returns:
        The paths of the files.

    Raises:
        RunError: a file cannot be written.
    """
    paths = []
    with matplotlib.rc_context(STYLE), writing(folder):
        make_folder(folder)
        for data in study.data:
            table = next((t for t in tables if t.data == data and t.split == "test"), None)
            for name, figure in _figures(study, table) if table is not None else ():
                path = folder / f"{data}-{name}.svg"
                figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
                paths.append(path)
        for old in set(folder.glob("*.svg")) - set(paths):
            old.unlink()
    return paths


def _figures(study: Study, table: Table) -> Iterator[tuple[str, Figure]]:
    draw: dict[str, Callable[[Study, Table], Figure | None]] = {
        "lift": lift_by_metric,
        "ablations": ablations,
        "scaling": scaling,
        "time": metric_by_time,
        "gates": open_gates,
    }
    for name, function in draw.items():
        if (figure := function(study, table)) is not None:
            yield name, figure


def lift_by_metric(study: Study, table: Table) -> Figure | None:
    """The lift of every other model over the best baseline, by metric."""
    models = [m for m in table.models if m.name not in study.baselines and m.trained]
    models = [m for m in models if not _variant(study.models[m.name])]
    if not models or not table.best:
        return None
    figure, axes = _axes(f"{table.data}: lift over the best baseline", width=7)
    metrics = list(models[0].metrics)
    for n, m in enumerate(models):
        lifts = [table.lift(m.name, table.best[metric], metric) for metric in metrics]
        at = [k + (n - (len(models) - 1) / 2) * 0.8 / len(models) for k in range(len(metrics))]
        _points(axes, at, lifts, n, m.title)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(metrics)), [shown(metric) for metric in metrics])
    axes.set_xlabel("metric (R is Recall, N is nDCG)")
    axes.set_ylabel(f"lift in %, with {LEVEL:.0%} intervals")
    _legend(axes)
    return figure


def _variant(model: StudyModel) -> bool:
    """Whether a model is shown by another figure: an ablation, or a size of another model."""
    return bool(model.ablate) or (model.curve is not None and model.like is not None)


def ablations(study: Study, table: Table) -> Figure | None:
    """The change of the metric of each ablated model against the model that it is like."""
    found = []
    for m in table.models:
        model = study.models.get(m.name)
        if model is not None and model.ablate and model.like is not None:
            change = table.lift(m.name, model.like, study.metric)
            if change is not None:
                found.append((m.title, change))
    if not found:
        return None
    figure, axes = _axes(
        f"{table.data}: effect of leaving out a part", height=0.8 + 0.35 * len(found)
    )
    for n, (_, change) in enumerate(reversed(found)):
        axes.barh(n, 100 * change.value, color=COLOURS[0], edgecolor="black", height=0.6)
        if change.interval is not None:
            low, high = (100 * x for x in change.interval)
            axes.plot([low, high], [n, n], color="black", linewidth=1.2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [title for title, _ in reversed(found)])
    axes.set_xlabel(f"change of {shown(study.metric)} in %, with {LEVEL:.0%} intervals")
    return figure


def scaling(study: Study, table: Table) -> Figure | None:
    """The metric by the number of blocks, one line per `curve`."""
    curves: dict[str, list[tuple[int, Estimate]]] = {}
    for m in table.models:
        model = study.models.get(m.name)
        if model is not None and model.curve is not None:
            sizes = settings_of(study, table.data, m.name, study.seeds_of(m.name)[0]).model
            blocks = sizes.token_blocks + sizes.item_blocks
            curves.setdefault(model.curve, []).append((blocks, m.metrics[study.metric]))
    if not any(len(points) > 1 for points in curves.values()):
        return None
    figure, axes = _axes(f"{table.data}: quality by the number of blocks")
    for n, (title, points) in enumerate(curves.items()):
        points.sort(key=lambda point: point[0])
        at = [blocks for blocks, _ in points]
        _points(axes, at, [value for _, value in points], n, title, line=LINES[n % len(LINES)])
    axes.set_xticks(sorted({blocks for points in curves.values() for blocks, _ in points}))
    axes.set_xlabel("number of blocks, token level and item level (N1 + N2)")
    axes.set_ylabel(f"{shown(study.metric)} in %, with {LEVEL:.0%} intervals")
    _legend(axes)
    return figure


def metric_by_time(study: Study, table: Table) -> Figure | None:
    """The metric by the CPU time of training."""
    points = [
        (seconds, m) for m in table.models if m.trained and (seconds := m.mean("train_cpu_seconds"))
    ]
    if len(points) < 2:
        return None
    figure, axes = _axes(f"{table.data}: quality by training time", width=7)
    for n, (seconds, m) in enumerate(points):
        _points(axes, [seconds], [m.metrics[study.metric]], n, m.title)
    axes.set_xscale("log")
    axes.set_xlabel("CPU time of training, mean over the seeds, in s")
    axes.set_ylabel(f"{shown(study.metric)} in %, with {LEVEL:.0%} intervals")
    _legend(axes)
    return figure


def open_gates(study: Study, table: Table) -> Figure | None:
    """The share of open positions by gate at the end of training."""
    shares = {m.title: gates for m in table.models if m.trained and (gates := _gates(m))}
    if not shares:
        return None
    names = sorted({gate for gates in shares.values() for gate in gates})
    figure, axes = _axes(
        f"{table.data}: open gates at the end of training", height=1.2 + 0.25 * len(names)
    )
    for n, (title, gates) in enumerate(shares.items()):
        at = [k + (n - (len(shares) - 1) / 2) * 0.7 / len(shares) for k in range(len(names))]
        axes.plot(
            [100 * gates.get(gate, float("nan")) for gate in names],
            at,
            linestyle="none",
            color=COLOURS[n % len(COLOURS)],
            marker=MARKERS[n % len(MARKERS)],
            markersize=4,
            label=title,
        )
    axes.invert_yaxis()
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("positions with an open gate in %, mean over the seeds")
    _legend(axes)
    return figure


def _gates(m: ModelResult) -> dict[str, float]:
    """The share of open positions by gate, averaged over the seeds."""
    found: dict[str, list[float]] = {}
    for row in m.rows:
        for gate, share in json.loads(row.get("open_gates") or "{}").items():
            found.setdefault(gate, []).append(share)
    return {gate: float(np.mean(shares)) for gate, shares in found.items()}


def _axes(title: str, *, width: float = 5.5, height: float = 3.4) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    return figure, axes


def _points(
    axes: Any,
    at: Sequence[float],
    values: Sequence[Estimate | None],
    n: int,
    label: str,
    *,
    line: str = "none",
) -> None:
    """Draw values in percent with their intervals, in the style of the n-th series."""
    known = [(x, value) for x, value in zip(at, values, strict=True) if value is not None]
    means = [100 * value.value for _, value in known]
    ends = np.array(
        [
            [100 * abs(end - value.value) for end in value.interval or (value.value, value.value)]
            for _, value in known
        ]
    ).reshape(-1, 2)
    axes.errorbar(
        [x for x, _ in known],
        means,
        yerr=ends.T,
        linestyle=line,
        color=COLOURS[n % len(COLOURS)],
        marker=MARKERS[n % len(MARKERS)],
        markersize=5,
        capsize=2,
        linewidth=1.2,
        label=label,
    )


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
