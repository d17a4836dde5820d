"""Build a generation: a config in, a published generation out."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from heterrec_pipeline.building.config import BuildConfig, BuildResult
from heterrec_pipeline.building.outcome import failure, published
from heterrec_pipeline.building.prepare import make_job
from heterrec_pipeline.files import parts
from heterrec_pipeline.flow import BuildGeneration
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.runtime.dataflow.options import is_detached, on_dataflow
from heterrec_pipeline.runtime.engines import engine_of
from heterrec_pipeline.runtime.flags import use_stores
from heterrec_pipeline.telemetry.monitor import BuildMonitor, OnEvent, ignore_event
from heterrec_pipeline.wiring import coder
from heterrec_schemas.errors import CallError

if TYPE_CHECKING:
    from heterrec_pipeline.building.dataflow import Submission

LOG = logging.getLogger(__name__)


def build(
    config: BuildConfig,
    on_submitted: Callable[["Submission"], None] = lambda _: None,
    on_event: OnEvent = ignore_event,
) -> BuildResult:
    """Read, fit, encode, group, split, write, publish.

    Args:
        config: what to build.
        on_submitted: told of the job, once a remote service has taken it over.
        on_event: called as the build goes on, with the events `begin`, `stage_began` and `stage` and their fields.

    Raises:
        HeterrecError: a mistake in the call, the spec or the data (exit code 2), or a failed run (exit code 1).
            Nothing was published then, and an earlier generation is untouched.
    """
    with BuildMonitor(config.profile, on_event) as monitor:
        return _build(config, on_submitted, monitor)


def _build(
    config: BuildConfig, on_submitted: Callable[["Submission"], None], monitor: BuildMonitor
) -> BuildResult:
    now = datetime.now(UTC)
    options = use_stores(config.pipeline_args)
    if on_dataflow(options):
        return _build_on_dataflow(config, options, on_submitted, monitor)
    engine = engine_of(options)
    config = replace(config, input=engine.path(config.input), output=engine.path(config.output))
    with monitor.phase("check the spec and the input"):
        job = make_job(config, now)
    _begin(monitor, job, options)
    swept = lease.sweep(job.output, now)
    for generation in swept:
        LOG.info("swept the leftovers of the dead build %s", generation)
    try:
        lease.begin(job.output, job.generation, now)
        coder.register()
        with engine:
            with monitor.phase("draw the graph"):
                pipeline = beam.Pipeline(options=options)
                pipeline | "Generation" >> BuildGeneration(job=job)
                monitor.name_steps(pipeline)
            with monitor.phase("run the graph"):
                result = engine.run(pipeline)
            monitor.ended(result)
    except (Exception, KeyboardInterrupt) as error:
        raise failure(job, error) from error
    finally:
        parts.forget()
    return published(job, swept, monitor)


def _begin(monitor: BuildMonitor, job: Job, options: PipelineOptions) -> None:
    monitor.begin(
        generation=job.generation,
        name=job.spec.name,
        runner=options.view_as(StandardOptions).runner,
        output=job.output,
    )


def _build_on_dataflow(
    config: BuildConfig,
    options: PipelineOptions,
    on_submitted: Callable[["Submission"], None],
    monitor: BuildMonitor,
) -> BuildResult:
    if is_detached(options, no_wait=False):
        raise CallError("a dry run or a template's job has nothing to wait for: use submit()")
    with monitor.phase("submit the job"):
        submission = submit(config)
    _begin(monitor, submission.job, options)
    on_submitted(submission)
    with monitor.phase("wait for the job"):
        submission.wait()
    monitor.ended(submission.result, datetime.fromisoformat(submission.job.created))
    return published(submission.job, submission.swept, monitor)


def submit(config: BuildConfig) -> "Submission":
    """Hand a build to Dataflow and return; its job goes on and publishes by itself.

    Raises:
        HeterrecError: a mistake in the call, the spec or the data, or the job cannot be created.
    """
    from heterrec_pipeline.building.dataflow import submit as hand_over

    return hand_over(config, use_stores(config.pipeline_args))
