"""Build a generation: a config in, a published generation out."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import StandardOptions

from heterrec_pipeline.building.config import BuildConfig, BuildResult
from heterrec_pipeline.building.dataflow import Submission, submit
from heterrec_pipeline.building.outcome import failure, published
from heterrec_pipeline.building.prepare import checked_job, with_base
from heterrec_pipeline.building.readings import expected_readings
from heterrec_pipeline.building.unchanged import unchanged
from heterrec_pipeline.files import parts, storage
from heterrec_pipeline.flow import BuildGeneration
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.runtime.dataflow.options import is_detached, on_dataflow
from heterrec_pipeline.runtime.engines import engine_of
from heterrec_pipeline.runtime.workers import use_workers
from heterrec_pipeline.telemetry.monitor import BuildMonitor, OnEvent, ignore_event, monitor_build
from heterrec_pipeline.telemetry.recorder import RECORDER, phase
from heterrec_pipeline.wiring import coder
from heterrec_schemas.errors import CallError
from heterrec_schemas.leases import reader_lease

LOG = logging.getLogger(__name__)
OnSubmitted = Callable[[Submission], None]


def build(
    config: BuildConfig,
    on_submitted: OnSubmitted = lambda _: None,
    on_event: OnEvent = ignore_event,
) -> BuildResult:
    """Read, fit, encode, group, split, write, publish.

    Args:
        config: the build.
        on_submitted: called when a remote service has accepted the job.
        on_event: called during the build with the events `begin`, `stage_began` and `stage` and their fields.

    Raises:
        HeterrecError: an error in the call, the spec or the data (exit code 2), or a failed run (exit code 1).
            Nothing was published then, and earlier generations are unchanged.
    """
    FileSystems.set_options(config.options)
    storage.check(config.output)  # before it is logged
    config = with_base(config)
    if (same := unchanged(config)) is not None:
        return same
    with monitor_build(config.profile, on_event) as monitor, parent_lease(config):
        if on_dataflow(config.options):
            return _build_on_dataflow(config, on_submitted, monitor)
        return _build_here(config, monitor)


def _build_here(config: BuildConfig, monitor: BuildMonitor) -> BuildResult:
    """Build on an engine that this process starts, or waits for."""
    now = datetime.now(UTC)
    engine = engine_of(config.options, config.allow_open_ports)
    config = replace(config, input=engine.path(config.input), output=engine.path(config.output))
    job = checked_job(config, now)
    if use_workers(config.options, config.workers, job.sizes.all_rows) > 1:
        engine = engine_of(config.options, config.allow_open_ports)
    _begin(monitor, job, config)
    swept = lease.sweep(job.output, now, config.sweep_after)
    for generation in swept:
        LOG.info("deleted the leftovers of the dead build %s", generation)
    lease.begin(job.output, job.generation, now)
    try:
        coder.register()
        with lease.keep(job.root), engine:
            with phase("draw the graph"):
                pipeline = beam.Pipeline(options=config.options)
                pipeline | "Generation" >> BuildGeneration(job=job)
                monitor.name_steps(pipeline)
            with phase("run the graph"):
                result = engine.run(pipeline)
            monitor.ended(result)
    except BaseException as error:  # some libraries raise errors that are no `Exception`
        raise failure(job, error) from error
    finally:
        parts.forget()
    return published(job, swept, monitor)


def _build_on_dataflow(
    config: BuildConfig, on_submitted: OnSubmitted, monitor: BuildMonitor
) -> BuildResult:
    if is_detached(config.options, no_wait=False):
        raise CallError("a dry run or a template's job has nothing to wait for: use submit()")
    with phase("submit the job"):
        submission = submit(config)
    _begin(monitor, submission.job, config)
    on_submitted(submission)
    with phase("wait for the job"):
        submission.wait()
    monitor.ended(submission.result, datetime.fromisoformat(submission.job.created))
    return published(submission.job, submission.swept, monitor)


def parent_lease(config: BuildConfig) -> AbstractContextManager[None]:
    """Keep purges from deleting the parent of a refresh during the block."""
    return reader_lease(config.base, "refresh") if config.base is not None else nullcontext()


def _begin(monitor: BuildMonitor, job: Job, config: BuildConfig) -> None:
    RECORDER.expect(expected_readings(job))
    monitor.begin(
        generation=job.generation,
        name=job.spec.name,
        runner=config.options.view_as(StandardOptions).runner,
        output=job.output,
    )
