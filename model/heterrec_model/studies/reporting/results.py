"""What the rows of a study say: means, intervals and lifts, as tables and figures show them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heterrec_model.evaluation.metrics import metric_names
from heterrec_model.studies.plan import protocols
from heterrec_model.studies.reporting.intervals import (
    Estimate,
    Floats,
    estimate,
    lift,
    resampled_means,
)
from heterrec_model.studies.rows import Protocol, Row, RowKey, Rows, number
from heterrec_model.studies.study_file import Study
from heterrec_model.studies.user_metrics import read_user_metrics


@dataclass(frozen=True, eq=False)
class ModelResult:
    """The rows of one model or counting baseline under one protocol.

    Attributes:
        name: in the study.
        title: in tables.
        trained: whether it is no counting baseline.
        rows: one per seed.
        metrics: mean over seeds and users with its interval, by metric.
    """

    name: str
    title: str
    trained: bool
    rows: Sequence[Row]
    metrics: dict[str, Estimate]

    def mean(self, column: str) -> float | None:
        """The mean of a column over the seeds; None if no row has it."""
        found = [value for row in self.rows if (value := number(row, column)) is not None]
        return statistics.mean(found) if found else None


@dataclass(frozen=True, eq=False)
class Table:
    """The results of one data set under one protocol.

    Attributes:
        data: name of the data set.
        split: validation or test.
        protocol: of the evaluation.
        models: those that have rows, in the order of the study; counting baselines first.
        best: the best baseline by metric, its name in the study.
        notes: what a reader has to know: missing rows, mixed settings.
        resampled: [R, M] means of the resamples by model, in the order of the metrics; empty without metrics per user.
    """

    data: str
    split: str
    protocol: Protocol
    models: Sequence[ModelResult]
    best: dict[str, str]
    notes: Sequence[str]
    resampled: Mapping[str, Floats]

    def lift(self, name: str, base: str, metric: str) -> Estimate | None:
        """The lift of a model over another one; None if one has no rows, or the other's mean is 0."""
        own, other = self.model(name), self.model(base)
        if own is None or other is None or not other.metrics[metric].value:
            return None
        value, reference = own.metrics[metric].value, other.metrics[metric].value
        m = list(own.metrics).index(metric)
        if name not in self.resampled or base not in self.resampled:
            return Estimate(value / reference - 1, None)
        return lift(value, reference, self.resampled[name][:, m], self.resampled[base][:, m])

    def model(self, name: str) -> ModelResult | None:
        """A model by its name in the study."""
        return next((m for m in self.models if m.name == name), None)


def result_tables(study: Study, results: str | Path) -> list[Table]:
    """The tables of a study, those of the test split first.

    Raises:
        CallError: rows.csv or a file of metrics per user is damaged.
    """
    rows = Rows(results, study.name)
    known = rows.read()
    tables = []
    for data, chosen in study.data.items():
        for split in sorted(chosen.splits, key=("test", "validation").index):
            for protocol in protocols(study, data):
                table = _table(study, rows.folder, known, data, split, protocol)
                if table.models:
                    tables.append(table)
    return tables


def _table(
    study: Study,
    folder: Path,
    known: dict[tuple[str, ...], Row],
    data: str,
    split: str,
    protocol: Protocol,
) -> Table:
    notes: list[str] = []
    absent: dict[str, list[str]] = {}
    found: dict[str, list[tuple[RowKey, Row]]] = {}
    for name in (*study.counting, *study.models_of(data)):
        seeds: Sequence[int | None] = (None,) if name in study.counting else study.seeds_of(name)
        keys = [RowKey(data, name, seed, split, protocol) for seed in seeds]
        found[name] = [(key, known[key.texts]) for key in keys if key.texts in known]
        missing = [str(key.seed) for key in keys if key.texts not in known]
        if missing:
            of = f" of seed {', '.join(missing)}" if found[name] else ""
            absent.setdefault(of, []).append(study.title(name))
        if len({row["settings_sha256"] for _, row in found[name]}) > 1:
            notes.append(f"{study.title(name)}: its seeds have different settings.")
        if not found[name]:
            del found[name]
    notes += (f"Without rows{of}: {'; '.join(titles)}." for of, titles in absent.items())
    contents = {row["content_sha256"][:8] for pairs in found.values() for _, row in pairs}
    if len(contents) > 1:
        notes.append(f"Rows are of different content: {', '.join(sorted(contents))}.")
    names = metric_names(study.ks)
    per_user = {name: _per_user(folder, pairs, names) for name, pairs in found.items()}
    complete = {name: x for name, x in per_user.items() if x is not None}
    for name in found:
        if name not in complete:
            notes.append(f"{study.title(name)}: no interval, since files in users/ are missing.")
    sizes = {x.shape[1] for x in complete.values()}
    paired = {row["users_sha256"] for n in complete for _, row in found[n]}
    resampled: dict[str, Floats] = {}
    if len(paired) == 1 and sizes != {0}:
        resampled = resampled_means(complete)
    elif len(paired) > 1:
        notes.append("Rows are of different users: no intervals.")
    means = {
        name: [_mean([row for _, row in pairs], metric) for metric in names]
        for name, pairs in found.items()
    }
    models = []
    for name, pairs in found.items():
        metrics = {
            metric: estimate(value, resampled[name][:, m])
            if name in resampled
            else Estimate(value, None)
            for m, (metric, value) in enumerate(zip(names, means[name], strict=True))
        }
        rows_of = [row for _, row in pairs]
        trained = name not in study.counting
        models.append(ModelResult(name, study.title(name), trained, rows_of, metrics))
    best = _best(study, means, names)
    return Table(data, split, protocol, models, best, notes, resampled)


def _per_user(
    folder: Path, pairs: Sequence[tuple[RowKey, Row]], names: Sequence[str]
) -> Floats | None:
    """The metrics of every user, [S, U, M]; None if a file is missing."""
    seeds = []
    for key, row in pairs:
        x_UM = read_user_metrics(folder / key.users_file, names, row["users_sha256"])
        if x_UM is None:
            return None
        seeds.append(x_UM)
    if len({x.shape for x in seeds}) != 1:
        return None
    return np.stack(seeds)


def _mean(rows: Sequence[Row], metric: str) -> float:
    values = [value for row in rows if (value := number(row, metric)) is not None]
    return statistics.mean(values) if values else float("nan")


def _best(study: Study, means: dict[str, list[float]], names: Sequence[str]) -> dict[str, str]:
    """The baseline with the highest mean by metric."""
    known = [name for name in study.baselines if name in means]
    return {
        metric: max(known, key=lambda name: means[name][m])
        for m, metric in enumerate(names)
        if known
    }
