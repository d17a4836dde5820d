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
Values = Mapping[str, float | None]
TOKEN = "token/"
"""Prefix of the terms and gates of tokens, as in token/brand_step2."""
MOST = 8
"""Maximum number of lines in a chart: those that end highest."""


def training_part(folder: RunFolder, config: Config, best: int | None) -> Section:
    """The section of the training.

    Args:
        folder: of the run.
        config: of the run.
        best: step of the best checkpoint.
    """
    logged = list(log_lines(folder.metrics))
    train = [line for line in logged if line["kind"] == "train"]
    metric = config.train.metric
    found = [line for line in logged if line["kind"] == "validation"]
    validated = series_of(found, lambda line: {metric: line.get("metrics", {}).get(metric)})
    drawn = [*_train_charts(train), *_validation_chart(validated, metric, best)]
    return Section(
        "Training", [*([charts(drawn)] if drawn else []), *_left_out(train, validated, metric)]
    )


def _train_charts(train: Sequence[Line]) -> list[tuple[str, Chart]]:
    return [
        *_chart(train, _terms, "Loss and its terms of items", "loss"),
        *_chart(train, _token_terms, "Terms of the loss of tokens by feature", "loss"),
        *_chart(train, _gates, "Open gates of the later steps (Eq. 11)", "share of positions"),
        *_chart(train, _token_gates, "Open gates of tokens by feature", "share of positions"),
        *_chart(train, _rate, "Learning rate", "learning rate"),
    ]


def _left_out(train: Sequence[Line], validated: Series, metric: str) -> Iterator[str]:
    """What the log lacks, and how to get it."""
    if not train:
        yield note(
            f"{METRICS} of this run has no line of the training: `heterrec-model train` writes one "
            "every train.log_every steps."
        )
    elif not any(_gates(line) for line in train):
        yield paragraph("This run has no gates: loss.gate opens them with loss.steps above 1.")
    if not validated:
        yield note(
            f"The log has no {metric} of a validation: train with train.validate_every and a split with validation targets."
        )


def _terms(line: Line) -> Values:
    terms = {n: v for n, v in line.get("terms", {}).items() if not n.startswith(TOKEN)}
    return {"loss": line.get("loss"), **terms}


def _token_terms(line: Line) -> Values:
    return {name: sum(values) for name, values in _by_feature(line.get("terms", {})).items()}


def _gates(line: Line) -> Values:
    return {n: v for n, v in _shares(line).items() if not n.startswith(TOKEN)}


def _token_gates(line: Line) -> Values:
    return {name: sum(v) / len(v) for name, v in _by_feature(_shares(line)).items()}


def _shares(line: Line) -> Values:
    shares = line.get("metrics", {})
    return {
        n.removeprefix(OPEN_GATES): shares[n] for n in sorted(shares) if n.startswith(OPEN_GATES)
    }


def _by_feature(values: Values) -> dict[str, list[float]]:
    """The values of all steps of the tokens by feature."""
    found: dict[str, list[float]] = {}
    for name, value in values.items():
        if name.startswith(TOKEN) and value is not None:
            feature = name.removeprefix(TOKEN).rpartition("_step")[0]
            found.setdefault(feature, []).append(value)
    return found


def _rate(line: Line) -> Values:
    return {"learning rate": line.get("learning_rate")}


def _chart(
    train: Sequence[Line], values: Callable[[Line], Values], title: str, axis: str
) -> list[tuple[str, Chart]]:
    """The values of the lines by step; nothing if no line has any."""
    every = thinned(series_of(train, values))
    if not every:
        return []
    kept = sorted(every, key=lambda name: -every[name][1][-1])[:MOST]
    found = {name: series for name, series in every.items() if name in kept}
    title += f", {MOST} of {len(every)}" if len(every) > MOST else ""
    said = "; ".join(
        f"{name} {y[0]:.4g} at first, {y[-1]:.4g} at the end, lowest {min(y):.4g}"
        for name, (_, y) in found.items()
    )
    return [(title, lines(found, ("step", axis), f"{title} by step: {said}."))]


def series_of(logged: Sequence[Line], values: Callable[[Line], Values]) -> Series:
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


def _validation_chart(
    validated: Series, metric: str, best: int | None
) -> Iterator[tuple[str, Chart]]:
    if not validated:
        return
    steps, values = validated[metric]
    at = int(np.argmax(values))
    words = (
        f"{metric} on the validation split by step: {values[0]:.4f} at step {steps[0]:,}, "
        f"highest {values[at]:.4f} at step {steps[at]:,}, {values[-1]:.4f} at the end."
    )
    marks = {f"best checkpoint, step {best:,}": [float(best)]} if best is not None else None
    title = f"{metric} on the validation split"
    yield title, lines(thinned(validated), ("step", metric), words, marks=marks)
