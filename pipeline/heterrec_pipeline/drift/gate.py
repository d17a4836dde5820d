"""The gate: whether a refresh may be published, and what its drift says in words."""

from collections.abc import Iterator
from typing import NamedTuple

from heterrec_pipeline.job import Job
from heterrec_schemas.drift import RETIRED_SHARE, DriftReport, retired_share
from heterrec_schemas.errors import NotPublishedError
from heterrec_schemas.feature_spec import Drift
from heterrec_schemas.manifest import LATEST_NAME, DriftStatus, Manifest


class Verdict(NamedTuple):
    """The status of a refresh, and the features and rows that fail, in words."""

    status: DriftStatus
    failed: tuple[str, ...]


def findings(report: DriftReport, limits: Drift, status: DriftStatus) -> Iterator[str]:
    """The features and rows with a status, the worst first, in words."""
    limit = limits.fail if status == "fail" else limits.warn
    for feature in report.worst_first():
        if feature.status == status:
            yield f"{feature.stem}: psi {feature.psi:g} (limit {limit:g})"
    low, high = limits.shrink.warn, limits.shrink.fail
    for name, (before, now, fall) in report.rows:
        failed = fall >= high
        if before >= limits.min_rows and fall >= low and failed == (status == "fail"):
            limit = high if failed else low
            yield f"{name}: a fall of {fall:g} (limit {limit:g}), {now:,} of {before:,} rows left"


def drifted_too_far(job: Job, verdict: Verdict) -> NotPublishedError:
    """The error of a refresh that is complete, but must not be published."""
    assert job.parent is not None
    return NotPublishedError(
        f"not published: {job.generation} drifted too far from its parent {job.parent.generation}",
        got="; ".join(verdict.failed),
        todo=f"{job.root} is complete, and {LATEST_NAME} is unchanged. "
        f"Look at `heterrec-pipeline inspect {job.root} --drift`. If the input is wrong, fix it and refresh again. "
        f"To accept the drift, run `heterrec-pipeline publish {job.output} --generation {job.generation}`, "
        "or refresh with --allow-drift.",
    )


def notices(report: DriftReport, limits: Drift, manifest: Manifest) -> Iterator[str]:
    """What a person should know of a refresh: warnings, features that need a new fit, a vocabulary that needs a rebuild.

    Args:
        report: the drift of the refresh.
        limits: the limits of its spec.
        manifest: its manifest.
    """
    yield from findings(report, limits, "fail")
    yield from findings(report, limits, "warn")
    fitted = {(f.side, f.name): f.fitted for f in manifest.features}
    rows = {"item": report.rows.items, "user": report.rows.users}
    for feature in report.worst_first():
        judged = min(rows[feature.side][:2]) >= limits.min_rows
        if judged and feature.psi_fit is not None and feature.psi_fit >= limits.warn:
            due = "a rebuild is due" if feature.values else "rebuild or --refit is due"
            since = fitted[feature.side, feature.name]
            yield f"{feature.stem}: psi_fit {feature.psi_fit:g} since {since} (limit {limits.warn:g}): {due}"
    share = retired_share(manifest)
    if share > RETIRED_SHARE:
        yield f"{share:.1%} of the item vocabulary is retired (limit {RETIRED_SHARE:.0%}): a rebuild is due"
