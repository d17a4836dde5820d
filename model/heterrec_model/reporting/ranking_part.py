"""The metrics of a run beside its baselines, and its recall by groups of targets, with bootstrap intervals over users.

Shapes: U users, P targets.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heterrec_model.evaluation.metrics import Bools, TargetRanks, metric_names, user_metrics
from heterrec_model.evaluation.top_items import Ints
from heterrec_model.reporting.measured import TOP, Measured, MeasuredRun
from heterrec_model.studies.reporting.intervals import LEVEL, Estimate, estimate, resampled_means
from heterrec_schemas.errors import CallError
from heterrec_schemas.pages.charts import Chart, intervals
from heterrec_schemas.pages.html import Section, charts, note, paragraph, table

RECALL = f"recall@{TOP}"
PARTS = 10
"""Number of parts of equal size into which targets are cut by popularity."""
LENGTHS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
"""First lengths of the groups of histories."""
AXIS = f"{{}}, with {LEVEL:.0%} intervals over users"


class Group(NamedTuple):
    """Targets that are shown together.

    Attributes:
        name: as shown.
        chosen_P: which targets.
    """

    name: str
    chosen_P: Bools


def metrics_part(measured: MeasuredRun) -> Section:
    """Metrics of the run and its baselines on the same users."""
    models = [measured.model, *measured.others]
    names = metric_names(measured.model.evaluation.ks)
    found = model_estimates(models, names)
    evaluation = measured.model.evaluation
    blocks = [
        paragraph(
            f"{evaluation.per_user.users:,} users of the split {evaluation.split} (at most {measured.wanted.users:,} were "
            f"asked for), {evaluation.candidates:,} of {evaluation.catalogue:,} items ranked; items of the history are "
            f"{'left out' if evaluation.seen_filtered else 'ranked too'}. {LEVEL:.0%} intervals by a bootstrap over users."
        ),
        charts((name, _beside(found, name)) for name in (RECALL, f"ndcg@{TOP}")),
        table(
            f"Metrics on the split {evaluation.split}",
            ["metric", *found],
            [[name, *(_shown(values[name]) for values in found.values())] for name in names],
        ),
    ]
    if not measured.others:
        blocks.append(
            note("No baseline to compare with: name runs or counting baselines with --baseline.")
        )
    return Section(f"Metrics on the split {evaluation.split}", blocks)


def model_estimates(
    models: Sequence[Measured], names: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Estimates by model and metric, with users drawn together for all models.

    Raises:
        CallError: two models were ranked for different users.
    """
    values: dict[str, npt.NDArray[np.float32]] = {}
    first, *others = (np.sort(model.evaluation.per_user.user_ids) for model in models)
    for model, users_U in zip(models, (first, *others), strict=True):
        if not np.array_equal(first, users_U):
            raise CallError(f"{model.name} was evaluated on other users than {models[0].name}")
        key = model.name if model.name not in values else f"{model.name} ({len(values)})"
        columns = [model.metric_U(name) for name in names]
        values[key] = np.stack(columns, axis=1)[None].astype(np.float32)
    drawn = resampled_means(values)
    return {
        model: {
            name: estimate(float(x_SUM[0, :, m].mean(dtype=np.float64)), drawn[model][:, m])
            for m, name in enumerate(names)
        }
        for model, x_SUM in values.items()
    }


def _beside(found: dict[str, dict[str, Estimate]], metric: str) -> Chart:
    values = {model: estimates[metric] for model, estimates in found.items()}
    said = "; ".join(f"{model} {_shown(e)}" for model, e in values.items())
    words = f"{metric} of the run, first, and its baselines: {said}."
    return _points(values, metric, words, marked=1)


def _points(values: dict[str, Estimate], metric: str, words: str, *, marked: int = 0) -> Chart:
    estimates = values.values()
    return intervals(
        list(values),
        [e.value for e in estimates],
        [e.interval for e in estimates],
        AXIS.format(metric),
        words,
        marked=marked,
    )


def _shown(e: Estimate) -> str:
    interval = f" ({e.interval[0]:.4f} to {e.interval[1]:.4f})" if e.interval else ""
    return f"{e.value:.4f}{interval}"


def groups_part(measured: MeasuredRun) -> Section:
    """Recall of the run by groups of targets and users."""
    ranks, top = measured.model.evaluation.per_user, measured.model.top
    counts_I = measured.scorer.table.train_count_I.cpu().numpy()
    count_P = np.where(
        top.target_P < len(counts_I), counts_I[np.minimum(top.target_P, len(counts_I) - 1)], 0
    )
    drawn = [
        ("By popularity of the target", list(popularity_groups(count_P))),
        ("By length of the history", list(length_groups(top.length_U[ranks.user_P]))),
        ("Repeated and new targets, warm and cold items", kind_groups(ranks)),
    ]
    shown = [(title, chart) for title, groups in drawn for chart in _group_chart(ranks, groups)]
    words = (
        f"{RECALL} over the targets of each group, averaged over the users who have such targets; the numbers of targets are "
        "in parentheses. Popularity is the number of interactions in training: targets are sorted by it and cut into ten "
        "parts of about equal size, where equal numbers stay together. A cold item has none. A repeated target is in the "
        "user's history. Groups without targets are left out."
    )
    return Section("Where it finds the targets", [paragraph(words), charts(shown)])


def popularity_groups(count_P: Ints) -> Iterator[Group]:
    """Ten parts of targets by their counts, named by their range; equal counts stay together, so there may be fewer."""
    edges = np.unique(np.quantile(count_P, np.arange(1, PARTS) / PARTS, method="lower"))
    part_P = np.searchsorted(edges, count_P, side="left")
    for part in np.unique(part_P):
        chosen_P = part_P == part
        low, high = int(count_P[chosen_P].min()), int(count_P[chosen_P].max())
        yield Group(f"{low:,}" if low == high else f"{low:,} to {high:,}", chosen_P)


def length_groups(length_P: Ints) -> Iterator[Group]:
    """Targets by the length of the user's history."""
    for low, after in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        chosen_P = (length_P >= low) & (length_P < (after or np.inf))
        if not chosen_P.any():
            continue
        if after is None:
            yield Group(f"{low:,} or more", chosen_P)
        else:
            yield Group(f"{low:,}" if after == low + 1 else f"{low:,} to {after - 1:,}", chosen_P)


def kind_groups(ranks: TargetRanks) -> list[Group]:
    """Repeated and new targets, warm and cold ones; only candidates, as in `evaluate`."""
    ranked_P = ranks.ranked_P
    kinds = {
        "repeated": ranks.had_P,
        "new": ~ranks.had_P,
        "warm": ranks.warm_P,
        "cold": ~ranks.warm_P,
    }
    return [Group(name, ranked_P & flag_P) for name, flag_P in kinds.items()]


def _group_chart(ranks: TargetRanks, groups: Sequence[Group]) -> Iterator[Chart]:
    """The chart of the groups that have targets."""
    found = {
        f"{group.name} ({int(group.chosen_P.sum()):,})": _recall(ranks.where(group.chosen_P))
        for group in groups
        if group.chosen_P.any()
    }
    if found:
        said = "; ".join(f"{name}: {_shown(e)}" for name, e in found.items())
        yield _points(found, RECALL, f"{RECALL} by group, with the number of targets: {said}.")


def _recall(ranks: TargetRanks) -> Estimate:
    values_U = user_metrics(ranks, (TOP,))[RECALL].astype(np.float32)
    drawn = resampled_means({"": values_U[None, :, None]})[""]
    return estimate(float(values_U.mean(dtype=np.float64)), drawn[:, 0])
