"""Checks of Dataflow's options before anything is read or written, and their defaults."""

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
from heterrec_schemas.errors import CallError, with_extra

STORE = "gs://"
REQUIRED = ("project", "region", "temp_location")
LOCATIONS = ("temp_location", "staging_location")
MACHINE_TYPE = "n2-standard-4"
"""Default machine: 4 cores and 16 GB, for one process per core with two buckets of users each."""
THREADS = 2
"""Default number of bundles per process. With Dataflow's default, 12, a process would hold 12 buckets in memory."""
MAX_WORKERS = 16
"""Default maximum number of machines, which limits the cost; Dataflow's default is the project's quota."""
NAME_LENGTH = 63
"""Maximum length of a job's name and of a label's value."""
UNLOGGED = "disable_logging_submission_environment"
"""Experiment that keeps Beam from staging the caller's `pip freeze`, in which a package's address may contain a token."""
_SECRETS = {
    "s3_secret_access_key": S3Options,
    "s3_session_token": S3Options,
    "azure_connection_string": AzureOptions,
}


def on_dataflow(options: PipelineOptions) -> bool:
    """Whether the options name Dataflow, in any spelling."""
    runner = str(options.view_as(StandardOptions).runner or "")
    return runner.rpartition(".")[2].lower().removesuffix("runner") == "dataflow"


def is_detached(options: PipelineOptions, no_wait: bool) -> bool:
    """Whether the command exits before the job ends: --no-wait, a dry run, or a template's job.

    Raises:
        CallError: --no-wait on another engine.
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
    """Whether the graph is only constructed and validated."""
    return bool(options.view_as(TestOptions).dry_run)


def template_location(options: PipelineOptions) -> str | None:
    """The path for the job's description; a template's launcher submits the job itself."""
    location: str | None = options.view_as(GoogleCloudOptions).template_location
    return location


def check_call(options: PipelineOptions, input: str, output: str) -> None:
    """Refuse a call that would fail on the service, or late in the job.

    Raises:
        CallError: lists all errors.
    """
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise CallError(
            f"Dataflow needs packages that are not installed: {error}",
            todo=with_extra("gcp"),
        ) from None
    cloud = options.view_as(GoogleCloudOptions)
    mistakes = [f"--{name} is missing" for name in REQUIRED if not getattr(cloud, name)]
    places = {"input": input, "output": output, **{n: getattr(cloud, n) for n in LOCATIONS}}
    mistakes += [
        f"--{name} must be in a bucket ({STORE}...) that all workers can reach; got {place}"
        for name, place in places.items()
        if place and not place.startswith(STORE)
    ]
    mistakes += [
        f"--{name} would be readable in the job's description"
        for name, view in _SECRETS.items()
        if getattr(options.view_as(view), name, None)
    ]
    if options.view_as(StandardOptions).streaming or cloud.update:
        mistakes.append("--streaming and --update do not apply: a build is a batch job")
    if mistakes:
        raise CallError(
            "Dataflow cannot run this: " + "; ".join(mistakes),
            todo="Dataflow's flags go after --; docs/dataflow.md explains them.",
        )


def check_files(job: Job) -> None:
    """Refuse input that only this machine can read, such as absolute paths in a spec.

    Raises:
        CallError: names the first such file.
    """
    for file in job.input_files:
        if not file.path.startswith(STORE):
            raise CallError(
                f"Dataflow's workers cannot read {file.path}",
                expected=f"a path that starts with {STORE}",
                todo="Copy it into a bucket, and fix the path in the spec.",
            )


def set_defaults(options: PipelineOptions, job: Job) -> None:
    """Set what the call leaves open: machine type, maximum number of machines, threads, the job's name and labels."""
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
    """A name with the spec and the generation, of lower-case letters, digits and hyphens."""
    generation = _plain(job.generation)
    room = NAME_LENGTH - len("heterrec--") - len(generation)
    spec = _plain(job.spec.name)[:room].strip("-")
    return "-".join(part for part in ("heterrec", spec, generation) if part)


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
