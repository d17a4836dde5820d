"""How a run was trained: its loss, gates, learning rate and validation by step, from metrics.jsonl."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heterrec_model.config import Config
from heterrec_model.runs.run_folder import METRICS, RunFolder
from heterrec_model.studies.run_logs import log_lines
from heterrec_model.two_tower import OPEN_GATES
from heterrec_schemas.pages.charts import Chart, lines
from heterrec_schemas.pages.html import Section, charts, note, paragraph

POINTS = 250
"""Maximum number of points of a line: neighbours are averaged."""
Series = dict[str, tuple[list[float], list[float]]]
Line = Mapping[str, Any]


def training_part(folder: RunFolder, config: Config, best: int | None) -> Section:
    """The section of the training.

    Args:
        folder: of the run.
        config: of the run.
        best: step of the best checkpoint.
    """
    logged = list(log_lines(folder.metrics))
    train = [line for line in logged if line["kind"] == "train"]
    blocks = [*_log_charts(train), *_validation(logged, config.train.metric, best)]
    if not train:
        where = f"{METRICS} of this run has no line of the training."
        blocks.insert(
            0, note(f"{where} `heterrec-model train` writes one every train.log_every steps.")
        )
    return Section("Training", blocks)


def _log_charts(train: Sequence[Line]) -> Iterator[str]:
    drawn = [
        *_chart(train, _terms, "Loss and its terms", "loss"),
        *_chart(train, _gates, "Open gates of the later steps (Eq. 11)", "share of positions"),
        *_chart(train, _rate, "Learning rate", "learning rate"),
    ]
    if drawn:
        yield charts(drawn)
    if train and not any(_gates(line) for line in train):
        yield paragraph(
            "The model of this run has no gates: they are those of the steps that loss.steps sets."
        )


def _terms(line: Line) -> dict[str, float | None]:
    terms = line.get("terms", {})
    return {"loss": line.get("loss"), **(terms if len(terms) > 1 else {})}


def _gates(line: Line) -> dict[str, float | None]:
    shares = line.get("metrics", {})
    return {
        name.removeprefix(OPEN_GATES): shares[name]
        for name in sorted(shares)
        if name.startswith(OPEN_GATES)
    }


def _rate(line: Line) -> dict[str, float | None]:
    return {"learning rate": line.get("learning_rate")}


def _chart(
    train: Sequence[Line], values: Callable[[Line], dict[str, float | None]], title: str, axis: str
) -> list[tuple[str, Chart]]:
    """The values of the lines by step; nothing if no line has any."""
    found = thinned(series_of(train, values))
    if not found:
        return []
    said = "; ".join(
        f"{name} {y[0]:.4g} at first, {y[-1]:.4g} at the end, lowest {min(y):.4g}"
        for name, (_, y) in found.items()
    )
    return [(title, lines(found, ("step", axis), f"{title} by step: {said}."))]


def series_of(logged: Sequence[Line], values: Callable[[Line], dict[str, float | None]]) -> Series:
    """Step and value by name; values that are absent (not finite) are left out."""
    series: Series = {}
    for line in logged:
        for name, value in values(line).items():
            if value is not None:
                x, y = series.setdefault(name, ([], []))
                x.append(line["step"])
                y.append(value)
    return series


def thinned(series: Series, most: int = POINTS) -> Series:
    """Series with at most `most` points: means of consecutive points."""

    def means(values: list[float], parts: int) -> list[float]:
        return [float(part.mean()) for part in np.array_split(np.asarray(values), parts)]

    return {
        name: (x, y) if len(x) <= most else (means(x, most), means(y, most))
        for name, (x, y) in series.items()
    }


def _validation(logged: Sequence[Line], metric: str, best: int | None) -> Iterator[str]:
    found = [line for line in logged if line["kind"] == "validation"]
    series = series_of(found, lambda line: {metric: line.get("metrics", {}).get(metric)})
    if not series:
        yield note(
            "The log has no validation: train with train.validate_every and a split with validation targets."
        )
        return
    steps, values = series[metric]
    at = int(np.argmax(values))
    words = (
        f"{metric} on the validation split by step: {values[0]:.4f} at step {steps[0]:,}, "
        f"highest {values[at]:.4f} at step {steps[at]:,}, {values[-1]:.4f} at the end."
    )
    marks = {f"best checkpoint, step {best:,}": [float(best)]} if best is not None else None
    title = f"{metric} on the validation split"
    yield charts([(title, lines(thinned(series), ("step", metric), words, marks=marks))])
