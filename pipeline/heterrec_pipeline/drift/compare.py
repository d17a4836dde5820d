"""Compare a refresh with its parent: features, values, rows, and the status by the limits of the spec."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.drift.bins import choose_bins, count_bins, psi
from heterrec_pipeline.drift.tally import Total
from heterrec_schemas.drift import (
    CategoricalBins,
    Counts,
    DriftReport,
    FeatureDrift,
    RowDrift,
    Side,
    ValueDrift,
    worst,
)
from heterrec_schemas.feature_spec import CategoricalFeature, Drift, EmbeddingFeature, Feature
from heterrec_schemas.manifest import DriftStatus

PLACES = 6
"""Number of decimal places of shares and of the index."""


class Measured(NamedTuple):
    """A feature in one generation.

    Attributes:
        feature: the feature as that generation's spec has it.
        total: its tokens.
        size: its vocabulary_size.
    """

    feature: Feature
    total: Total
    size: int


class Figures(NamedTuple):
    """What the report shows of a feature in one generation, besides its counts."""

    missing: float | None
    oov: float | None
    codes: float | None


NO_FIGURES = Figures(None, None, None)
"""Of a feature that the generation does not have."""


def figures(measured: Measured) -> Figures:
    """Shares of rows, and the codes in use of an embedding."""
    total = measured.total
    whole = max(total.rows, 1)
    return Figures(
        round(total.missing_rows / whole, PLACES),
        round(total.oov_rows / whole, PLACES),
        None if total.codes is None else round(total.codes, PLACES),
    )


def reported(feature: FeatureDrift) -> Figures:
    """The figures of a generation by its own report."""
    return Figures(feature.missing[1], feature.oov[1], feature.codes[1] if feature.codes else None)


class Before(NamedTuple):
    """A feature in the parent.

    Attributes:
        figures: shares and codes.
        counts: the parent's counts of the bins.
        bins: the bins, of a categorical feature.
        baseline: the counts in the generation in which the feature was fitted.
    """

    figures: Figures
    counts: Counts
    bins: CategoricalBins | None
    baseline: Counts


def before_by_report(feature: FeatureDrift) -> Before:
    """The parent's side by its own `drift.json`."""
    return Before(reported(feature), feature.present, feature.bins, feature.baseline)


def before_by_tables(measured: Measured) -> Before:
    """The parent's side by its tables: it is a build, and with that the baseline."""
    bins = choose_bins(*measured)
    counts = count_bins(measured.feature, measured.total, bins, measured.size)
    return Before(figures(measured), counts, bins, counts)


def feature_drift(
    side: Side,
    now: Measured,
    before: Before | None,
    values: ValueDrift | None,
    *,
    fresh: bool,
    limits: Drift,
    rows: tuple[int, int],
) -> FeatureDrift:
    """The drift of a feature.

    Args:
        side: item or user.
        now: the feature in the refresh.
        before: the feature in the parent; None if it is new.
        values: the changes of its vocabulary, if it is categorical.
        fresh: whether the feature is new or refitted: its bins differ from the parent's.
        limits: the limits of the spec.
        rows: number of items (users) of the parent and of the refresh.
    """
    feature = now.feature
    if fresh or before is None:
        bins = choose_bins(*now)
        present = count_bins(feature, now.total, bins, now.size)
        parent, baseline, index, index_fit = None, present, None, None
    else:
        bins, parent, baseline = before.bins, before.counts, before.baseline
        present = count_bins(feature, now.total, bins, now.size)
        index, index_fit = psi(parent, present), psi(baseline, present)
    then = before.figures if before else NO_FIGURES
    current = figures(now)
    judged = min(rows) >= limits.min_rows
    return FeatureDrift(
        name=feature.name,
        side=side,
        psi=index,
        psi_fit=index_fit,
        status=_level(index if judged else None, limits.warn, limits.fail),
        missing=(then.missing, current.missing),
        oov=(then.oov, current.oov),
        values=values if isinstance(feature, CategoricalFeature) else None,
        codes=(then.codes, current.codes) if isinstance(feature, EmbeddingFeature) else None,
        bins=bins,
        baseline=baseline,
        parent=parent,
        present=present,
    )


def _level(value: float | None, warn: float, fail: float) -> DriftStatus:
    if value is None or value < warn:
        return "pass"
    return "fail" if value >= fail else "warn"


def value_drift(now: pa.Table, before: pa.Table | None) -> ValueDrift:
    """The changes of one vocabulary shard.

    Args:
        now: id and status in the refresh, sorted by id.
        before: the same of the parent, whose ids are all in `now`; None if there was no such vocabulary.
    """
    if before is None or not len(before):
        return ValueDrift(new=len(now))
    at = np.searchsorted(now["id"].to_numpy(), before["id"].to_numpy())
    is_old = np.zeros(len(now), dtype=np.bool_)
    is_old[at] = True
    then = before["status"]
    current = now["status"].take(pa.array(at))

    def both(old: Iterable[str], new: str) -> int:
        chosen = pc.and_(pc.is_in(then, pa.array(old)), pc.equal(current, new))
        return int(pc.sum(chosen).as_py() or 0)

    return ValueDrift(
        known=both(["active"], "active"),
        new=int((~is_old).sum()),
        returned=both(["retired"], "active"),
        retired=both(["active"], "retired"),
        erased=both(["active", "retired"], "erased"),
    )


def add_values(parts: Iterable[ValueDrift]) -> ValueDrift:
    """The sum over the shards of a vocabulary."""
    sums: dict[str, int] = dict.fromkeys(ValueDrift.model_fields, 0)
    for part in parts:
        for name, count in part:
            sums[name] += count
    return ValueDrift(**sums)


def row_drift(counts: Mapping[str, tuple[int, int]]) -> RowDrift:
    """Rows of parent and refresh, with the share that was lost."""
    return RowDrift(
        **{
            name: (before, now, round(max(0.0, 1 - now / before), PLACES) if before else 0.0)
            for name, (before, now) in counts.items()
        }
    )


def make_report(
    parent: str, features: list[FeatureDrift], rows: RowDrift, limits: Drift, *, allow: bool
) -> DriftReport:
    """All features and rows to the report and its status.

    Args:
        parent: id of the parent.
        features: in the order of the spec, those of items first.
        rows: see `row_drift`.
        limits: the limits of the spec.
        allow: whether the status fail is accepted.
    """
    falls = [
        _level(fall, limits.shrink.warn, limits.shrink.fail)
        for _, (before, _, fall) in rows
        if before >= limits.min_rows
    ]
    status = worst([*(f.status for f in features), *falls])
    return DriftReport(
        parent=parent,
        status=status,
        allowed=allow and status == "fail",
        rows=rows,
        features=features,
    )
