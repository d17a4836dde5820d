"""The end of a build: the published result, or the error to raise after cleaning up."""

import errno

from heterrec_pipeline.building.config import BuildResult
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.telemetry.monitor import BuildMonitor
from heterrec_pipeline.worker_errors import found_in, stage_of
from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.manifest import LATEST_NAME, MANIFEST_NAME, Manifest

STOPPED = KeyboardInterrupt.__name__
"""Part of the text of the error into which the local engine turns a KeyboardInterrupt."""


def published(job: Job, swept: list[str], monitor: BuildMonitor) -> BuildResult:
    """The result of a successful run."""
    text = storage.read_bytes(storage.join(job.root, MANIFEST_NAME))
    manifest = Manifest.model_validate_json(text)
    return BuildResult(job.root, manifest, swept, monitor.metrics, monitor.stages)


def failure(job: Job, error: BaseException) -> BaseException:
    """Clean up after a run that ended early; returns the error to raise."""
    stopped = isinstance(error, KeyboardInterrupt) or STOPPED in str(error)
    try:
        committed = storage.exists(storage.join(job.root, MANIFEST_NAME))
    except HeterrecError:  # of the store that made the run fail
        return RunError(
            f"the run failed, and its leftovers cannot be inspected: {reason(error).rstrip('.')}",
            todo=f"Run again when the store works. {job.root} is valid only if it has a {MANIFEST_NAME}.",
        )
    if committed:
        why = "it was stopped" if stopped else reason(error).rstrip(".")
        return RunError(
            f"the run ended early, but its generation {job.root} is complete: {why}",
            todo=f"{LATEST_NAME} may still name an earlier one: run again, or open this one by its folder.",
        )
    lease.discard(job.root)
    return KeyboardInterrupt() if stopped else as_heterrec_error(error)


def reason(error: BaseException) -> str:
    """The cause of an engine's exception, in one line."""
    found = found_in(error)
    text = " ".join(str(error).split())
    return found.message if found else f"{type(error).__name__}: {text[-600:]}"


def as_heterrec_error(error: BaseException) -> HeterrecError:
    """An engine's exception as an error of the project: the one it carries, or a failure of the run."""
    found = found_in(error)
    stage = stage_of(error)
    where = f" in the stage {stage}" if stage else ""
    if type(found) is RunError:
        return RunError(f"the run failed{where}: {found.message}")
    if found is not None:
        return found
    if f"[Errno {errno.ENOSPC}]" in str(error):
        return RunError(
            f"the run failed{where}: no space left on the device",
            todo="Free space on the disk of --output, then run the same command again.",
        )
    return RunError(
        f"the run failed{where}: {reason(error)}",
        todo="Nothing was published. Run again with --debug for the whole traceback.",
    )
