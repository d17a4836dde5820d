"""Coverage and concentration of the top items.

Shapes: U users, K items per user, N candidates.
"""

from typing import NamedTuple

import numpy as np

from heterrec_model.data.catalogue_positions import NO_ROW
from heterrec_model.evaluation.top_items import Ints
from heterrec_model.reporting.measured import TOP, Measured, MeasuredRun
from heterrec_schemas.pages.charts import Chart, lines
from heterrec_schemas.pages.html import Section, charts, paragraph, table

POINTS = 60
"""Maximum number of points of a curve."""


class Concentration(NamedTuple):
    """How slots are spread over the candidates.

    Attributes:
        items: number of items with a slot.
        coverage: their share of the candidates.
        top_share: share of the slots that the most frequent 1% of the candidates (at least one) have.
        gini: 0 if all candidates have equally many slots, near 1 if one has all.
    """

    items: int
    coverage: float
    top_share: float
    gini: float


def slots_of(position_UK: Ints, candidates: int) -> Ints:
    """Number of slots of every candidate, most frequent first, [N]."""
    counts = np.unique(position_UK[position_UK != NO_ROW], return_counts=True)[1]
    slots_N = np.zeros(candidates, np.int64)
    slots_N[: len(counts)] = np.sort(counts)[::-1]
    return slots_N


def concentration(slots_N: Ints) -> Concentration:
    """The figures of slots, most frequent first, of which there is at least one."""
    candidates, total = len(slots_N), int(slots_N.sum())
    items = int(np.count_nonzero(slots_N))
    most = max(1, candidates // 100)
    ranks_N = np.arange(candidates, 0, -1)  # the least frequent has rank 1
    gini = (
        2 * float((ranks_N * slots_N).sum()) / (candidates * total) - (candidates + 1) / candidates
    )
    return Concentration(items, items / candidates, int(slots_N[:most].sum()) / total, gini)


def top_part(measured: MeasuredRun) -> Section:
    """Which items the top of the run and its baselines consist of."""
    models = [measured.model, *measured.others]
    slots = {model.name: _slots(model) for model in models}
    found = {name: concentration(slots_N) for name, slots_N in slots.items()}
    words = (
        f"The {TOP} best items of the same users. Coverage is the share of the candidates that somebody gets; Gini is 0 if "
        "all candidates are recommended equally often, and near 1 if few items have all slots."
    )
    rows = [
        [name, c.items, f"{c.coverage:.1%}", f"{c.top_share:.1%}", f"{c.gini:.3f}"]
        for name, c in found.items()
    ]
    columns = ["model", "items", "coverage", "share of the top 1% of items", "Gini"]
    title = f"Coverage and concentration of the top {TOP}"
    return Section(
        title,
        [
            paragraph(words),
            table(title, columns, rows),
            charts([(f"Slots of the top {TOP} by share of the items", _curve(slots, found))]),
        ],
    )


def _slots(model: Measured) -> Ints:
    return slots_of(model.top.position_UK, model.evaluation.candidates)


def _curve(slots: dict[str, Ints], found: dict[str, Concentration]) -> Chart:
    series = {}
    for name, slots_N in slots.items():
        at = np.unique(np.geomspace(1, len(slots_N), POINTS).round().astype(np.int64))
        share = np.cumsum(slots_N)[at - 1] / slots_N.sum()
        series[name] = ((100 * at / len(slots_N)).tolist(), (100 * share).tolist())
    said = "; ".join(f"{name} {c.top_share:.1%}, Gini {c.gini:.3f}" for name, c in found.items())
    axes = ("most recommended items, % of the candidates", "slots, %")
    words = f"Cumulative share of the slots by share of the items. The most recommended 1% have: {said}."
    return lines(series, axes, words, log="x")
