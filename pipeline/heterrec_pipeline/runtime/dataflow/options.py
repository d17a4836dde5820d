"""What a job on Dataflow needs before anything is read or written, and the settings that it gets when the call names none."""

import re

from apache_beam.options.pipeline_options import (
    AzureOptions,
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    S3Options,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)

from heterrec_pipeline.job import Job
from heterrec_schemas.errors import CallError

STORE = "gs://"
REQUIRED = ("project", "region", "temp_location")
LOCATIONS = ("temp_location", "staging_location")
MACHINE_TYPE = "n2-standard-4"
"""4 cores and 16 GB: a process a core, each with room for two buckets of users."""
THREADS = 2
"""Bundles that a process works on at once. Dataflow's own default, 12, would hold 12 buckets a process in memory."""
MAX_WORKERS = 16
"""An upper bound of what a job can cost; Dataflow's own default is the project's quota."""
NAME_LENGTH = 63
"""Of a job's name and of a label's value."""
UNLOGGED = "disable_logging_submission_environment"
"""Otherwise Beam stages `pip freeze` of the caller, where a package's address may hold a token."""
_SECRETS = {
    "s3_secret_access_key": S3Options,
    "s3_session_token": S3Options,
    "azure_connection_string": AzureOptions,
}


def on_dataflow(options: PipelineOptions) -> bool:
    """Whether the options name Dataflow as the engine, however it is spelt."""
    runner = str(options.view_as(StandardOptions).runner or "")
    return runner.rpartition(".")[2].lower().removesuffix("runner") == "dataflow"


def is_detached(options: PipelineOptions, no_wait: bool) -> bool:
    """Whether a command ends before the job does: asked for, a dry run, or a template's job.

    Raises:
        CallError: not waiting was asked for on another engine.
    """
    if not on_dataflow(options):
        if no_wait:
            raise CallError(
                "--no-wait is for Dataflow, whose jobs outlive this command",
                todo="Leave it out, or name that engine.",
            )
        return False
    return no_wait or is_dry(options) or bool(template_location(options))


def is_dry(options: PipelineOptions) -> bool:
    """Whether the graph is only to be built and validated."""
    return bool(options.view_as(TestOptions).dry_run)


def template_location(options: PipelineOptions) -> str | None:
    """Where a template's launcher wants the job's description; it submits the job itself."""
    location: str | None = options.view_as(GoogleCloudOptions).template_location
    return location


def check_call(options: PipelineOptions, input: str, output: str) -> None:
    """Refuse a call that would fail on the service, or far into the job.

    Raises:
        CallError: names every mistake at once.
    """
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise CallError(
            f"Dataflow needs packages that are not installed: {error}",
            todo="Install the extra gcp: pip install 'heterrec[pipeline,gcp]'.",
        ) from None
    cloud = options.view_as(GoogleCloudOptions)
    mistakes = [f"--{name} is missing" for name in REQUIRED if not getattr(cloud, name)]
    places = {"input": input, "output": output, **{n: getattr(cloud, n) for n in LOCATIONS}}
    mistakes += [
        f"--{name} must lie in a bucket ({STORE}...), which all workers reach; got {place}"
        for name, place in places.items()
        if place and not place.startswith(STORE)
    ]
    mistakes += [
        f"--{name} would stand readable in the job's description"
        for name, view in _SECRETS.items()
        if getattr(options.view_as(view), name, None)
    ]
    if options.view_as(StandardOptions).streaming or cloud.update:
        mistakes.append("--streaming and --update do not apply: a build is a batch job")
    if mistakes:
        raise CallError(
            "Dataflow cannot run this: " + "; ".join(mistakes),
            todo="Flags of Dataflow stand behind --; docs/dataflow.md goes through them.",
        )


def check_files(job: Job) -> None:
    """Refuse input that only this machine can read: absolute paths of a spec may lead anywhere.

    Raises:
        CallError: names the first such file.
    """
    for file in [*job.log, *(f for table in job.tables for f in table.files)]:
        if not file.path.startswith(STORE):
            raise CallError(
                f"Dataflow's workers cannot read {file.path}",
                expected=f"a path that starts with {STORE}",
                todo="Copy it into a bucket, and mend the path in the spec.",
            )


def settle(options: PipelineOptions, job: Job) -> None:
    """Fill in what the call leaves open: machines, a bound of their number, threads, the job's name and its labels."""
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    debug = options.view_as(DebugOptions)
    worker.machine_type = worker.machine_type or MACHINE_TYPE
    worker.max_num_workers = worker.max_num_workers or max(MAX_WORKERS, worker.num_workers or 0)
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or THREADS
    debug.add_experiment(UNLOGGED)
    cloud.job_name = cloud.job_name or job_name(job)
    cloud.labels = [
        *(cloud.labels or []),
        f"heterrec-spec={_plain(job.spec.name)[:NAME_LENGTH]}",
        f"heterrec-generation={_plain(job.generation)}",
    ]


def job_name(job: Job) -> str:
    """A name that tells the spec and the generation: lower-case letters, digits and hyphens."""
    generation = _plain(job.generation)
    room = NAME_LENGTH - len("heterrec--") - len(generation)
    spec = _plain(job.spec.name)[:room].strip("-")
    return "-".join(part for part in ("heterrec", spec, generation) if part)


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
