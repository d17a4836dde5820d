"""A build as a Dataflow job: submitted, polled until it ends, cancelled when the caller is stopped."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineState

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.outcome import failure
from heterrec_pipeline.building.prepare import checked_job, with_base
from heterrec_pipeline.flow import BuildGeneration
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.runtime.dataflow.options import (
    check_call,
    check_files,
    is_dry,
    set_defaults,
    template_location,
)
from heterrec_pipeline.runtime.dataflow.packages import staged_package
from heterrec_pipeline.runtime.notebooks import as_in_a_script
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_pipeline.telemetry.stages import name_steps
from heterrec_pipeline.wiring import coder
from heterrec_schemas.errors import CallError, HeterrecError, RunError, from_wire

LOG = logging.getLogger(__name__)
CONSOLE = "https://console.cloud.google.com/dataflow/jobs"
POLL_SECONDS = 10.0
CANCEL_SECONDS = 300.0
"""Time in seconds that a stopped command waits for its job to end."""
MESSAGE_CHARACTERS = 1500
"""Maximum length of a failed job's message."""


@dataclass(frozen=True)
class Submission:
    """A submitted job.

    Attributes:
        job: the build.
        job_id: Dataflow's id; None after a dry run, and where a template's launcher submits the job.
        url: its page in the console, or None.
        template: where the job's description was written for a template's launcher, or None.
        steps: number of steps of the validated graph, after a dry run.
        swept: ids of dead builds whose leftovers were deleted.
        result: Beam's result.
    """

    job: Job
    job_id: str | None
    url: str | None
    template: str | None
    steps: int | None
    swept: list[str]
    result: Any

    def summary(self) -> dict[str, Any]:
        """The fields of the `submitted` event."""
        known = {"job": self.job_id, "url": self.url, "template": self.template}
        return {"generation": self.job.generation, "runner": "DataflowRunner"} | known

    def wait(self) -> None:
        """Return when the job has published.

        Raises:
            HeterrecError: the job failed, or its state cannot be read; or the wait was stopped, which cancels the job.
        """
        try:
            state = self._poll()
        except KeyboardInterrupt:
            raise self._stopped() from None
        if state != PipelineState.DONE:
            raise failure(self.job, self._why(state))

    def _poll(self, limit: float = float("inf")) -> str:
        """Poll until the job has ended, or for `limit` seconds; returns the last state."""
        until = time.monotonic() + limit
        while True:
            state = self._state()
            RECORDER.show(f"Dataflow job {self.job_id} is {state.lower()}")
            if PipelineState.is_terminal(state) or time.monotonic() > until:
                return state
            time.sleep(POLL_SECONDS)

    def _state(self) -> str:
        try:
            return str(self.result.state)
        except Exception as error:  # after Beam has retried for minutes
            raise RunError(
                f"the Dataflow job {self.job_id} can no longer be polled: {error}",
                todo=f"It may continue and publish {self.job.root}: see {self.url}.",
            ) from error

    def _why(self, state: str) -> HeterrecError:
        """The project's error if a worker raised one, else the job's last error message."""
        texts = list(self._errors()) if state == PipelineState.FAILED else []
        for text in texts:
            found = from_wire(text)
            if found is not None:
                return found
        texts = [text for text in texts if "Traceback" in text] or texts
        last = " ".join(texts[-1].split())[-MESSAGE_CHARACTERS:] if texts else "no message"
        return RunError(
            f"the Dataflow job {self.job_id} ended as {state.lower()}: {last}",
            todo=f"Nothing was published. Its log: {self.url}.",
        )

    def _errors(self) -> Iterator[str]:
        """The texts of the job's error messages, oldest first."""
        page = None
        try:
            while True:
                messages, page = self.result._runner.dataflow_client.list_messages(
                    self.job_id, page_token=page, minimum_importance="JOB_MESSAGE_ERROR"
                )
                yield from (m.message_text for m in messages)
                if not page:
                    return
        except Exception as error:
            LOG.warning("the messages of the job %s cannot be read: %s", self.job_id, error)

    def _stopped(self) -> BaseException:
        """Cancel the job, and clean up once no worker can write any more."""
        RECORDER.show(f"cancelling the Dataflow job {self.job_id}")
        try:
            self.result.cancel()
            state = self._poll(CANCEL_SECONDS)
        except (Exception, KeyboardInterrupt) as error:
            LOG.warning("cancelling %s: %s", self.job_id, error)
            state = PipelineState.UNKNOWN
        if not PipelineState.is_terminal(state):
            return RunError(
                f"stopped, but the Dataflow job {self.job_id} is not known to have ended",
                todo=f"Cancel it at {self.url}, then delete {self.job.root} unless it has a manifest.",
            )
        ended = failure(self.job, KeyboardInterrupt())
        if isinstance(ended, KeyboardInterrupt):
            return RunError(
                f"stopped; the Dataflow job {self.job_id} was cancelled, and nothing was published"
            )
        return ended


def submit(config: BuildConfig) -> Submission:
    """Check, build the graph, stage it, create the job; returns without waiting for it.

    The job publishes by itself: its last step writes the manifest. The generation is complete when `manifest.json` exists.

    Raises:
        HeterrecError: an error in the call, the spec or the data (exit code 2), or the job cannot be created (exit code 1).
    """
    options = config.options
    FileSystems.set_options(options)
    config = with_base(config)
    check_call(options, config.input, config.output)
    now = datetime.now(UTC)
    job = checked_job(config, now)
    check_files(job)
    set_defaults(options, job)
    dry = is_dry(options)
    swept = [] if dry else lease.sweep(job.output, now, config.sweep_after)
    if not dry:
        lease.begin(job.output, job.generation, now, engine=_engine(options))
    try:
        with staged_package(options):
            result = _pipeline(job, options).run()
    except BaseException as error:
        if dry:
            raise
        raise failure(job, error) from error
    job_id = result.job_id() if getattr(result, "has_job", False) else None
    return Submission(
        job=job,
        job_id=job_id,
        url=_url(options, job_id) if job_id else None,
        template=template_location(options),
        steps=len(leaf_steps(result.job.proto_pipeline)) if dry else None,
        swept=swept,
        result=result,
    )


def leaf_steps(graph: Any) -> list[str]:
    """The names of a graph's primitive steps, without composites."""
    parts = graph.components.transforms.values()
    return [t.unique_name for t in parts if t.spec.urn and not t.subtransforms]


def _pipeline(job: Job, options: PipelineOptions) -> beam.Pipeline:
    coder.register()
    try:
        pipeline = beam.Pipeline(options=options)
    except ValueError as error:  # Beam's own validation of the options
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise CallError(f"Dataflow cannot run this: {'; '.join(lines) or error}") from None
    with as_in_a_script():
        pipeline | "Generation" >> BuildGeneration(job=job)
    began = datetime.fromisoformat(job.created)
    name_steps(pipeline, int(began.timestamp() * 1000) * 10**6)
    return pipeline


def _engine(options: PipelineOptions) -> str:
    cloud = options.view_as(GoogleCloudOptions)
    return f"dataflow {cloud.project} {cloud.region} {cloud.job_name}"


def _url(options: PipelineOptions, job_id: str) -> str:
    cloud = options.view_as(GoogleCloudOptions)
    return f"{CONSOLE}/{cloud.region}/{job_id}?project={cloud.project}"
