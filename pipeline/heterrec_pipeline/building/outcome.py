"""The end of a build: the published result, or the error to raise after cleaning up."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.building.config import BuildResult
from heterrec_pipeline.checking.changes import ended_features, features_of
from heterrec_pipeline.checking.doubts.outcome import outcome_doubts
from heterrec_pipeline.drift.gate import notices
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import ITEMS, Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.publish import REUSE_NAME
from heterrec_pipeline.reading.empty_files import skipped
from heterrec_pipeline.reading.files import changed_input
from heterrec_pipeline.telemetry.monitor import BuildMonitor
from heterrec_pipeline.worker_errors import as_heterrec_error, found_in, reason, was_stopped
from heterrec_schemas.command_line import uninterrupted
from heterrec_schemas.drift import DRIFT_NAME, DriftReport
from heterrec_schemas.errors import HeterrecError, NotPublishedError, RunError
from heterrec_schemas.manifest import LATEST_NAME, MANIFEST_NAME, Manifest

NOTHING_PUBLISHED = "Nothing was published. Run again with --debug for the whole traceback."


def published(job: Job, swept: list[str], monitor: BuildMonitor) -> BuildResult:
    """The result of a successful run."""
    text = storage.read_bytes(storage.join(job.root, MANIFEST_NAME))
    manifest = Manifest.model_validate_json(text)
    warnings = [*job.doubts, *outcome_doubts(job, manifest), *_warnings(job, manifest)]
    reuse = None
    if job.parent is not None:
        reuse = json.loads(storage.read_bytes(storage.join(job.root, REUSE_NAME)))
    return BuildResult(
        job.root, manifest, swept, monitor.metrics, monitor.stages, warnings, reuse=reuse
    )


def _warnings(job: Job, manifest: Manifest) -> Iterator[str]:
    """Empty files; what a refresh changed that is probably not intended, and how it drifted."""
    yield from skipped(job.empty)
    if job.parent is None:
        return
    for name in ended_features(job.parent, job.spec):
        yield f"the feature {name!r} ends: the spec does not name it any more. Named again, it will be a new feature."
    vocabularies = (
        known
        for name, known in job.parent.vocabularies.items()
        if known.integral and (name == ITEMS or name in features_of(job.spec))
    )
    for known in vocabularies:
        path = storage.join(job.root, known.paths[0])
        with storage.open_arrow(path) as handle:
            kind = pq.read_schema(handle).field("value").type
        if kind == pa.string():
            yield f"the values of {known.stem!r} were integers in the parent, and are texts from now on"
    report = DriftReport.model_validate_json(storage.read_bytes(storage.join(job.root, DRIFT_NAME)))
    yield from notices(report, job.spec.drift, manifest)


def failure(job: Job, error: BaseException) -> BaseException:
    """Clean up after a run that ended early; returns the error to raise."""
    stopped = was_stopped(error)
    try:
        committed = storage.exists(storage.join(job.root, MANIFEST_NAME))
    except HeterrecError:  # of the store that made the run fail
        return RunError(
            f"the run failed, and its leftovers cannot be inspected: {reason(error).rstrip('.')}",
            todo=f"Run again when the store works. {job.root} is valid only if it has a {MANIFEST_NAME}.",
        )
    found = found_in(error)
    if committed and isinstance(found, NotPublishedError):
        return found
    if committed:
        why = "it was stopped" if stopped else reason(error).rstrip(".")
        return RunError(
            f"the run ended early, but its generation {job.root} is complete: {why}",
            todo=f"{LATEST_NAME} may still name an earlier one: run again, or open this one by its folder.",
        )
    told = found is not None and type(found) is not RunError
    cause = None if stopped or told else _outside_cause(job)
    with uninterrupted():
        lease.discard(job.root)
    return KeyboardInterrupt() if stopped else as_heterrec_error(cause or error, NOTHING_PUBLISHED)


def _outside_cause(job: Job) -> RunError | None:
    """What others did to the build's files meanwhile, which explains any error."""
    with suppress(HeterrecError):  # of a store
        if lease.is_lost(job.root):
            return lease.lost(job.root)
        return changed_input(job.input_files)
    return None
