"""Build a generation: a config in, a published generation out."""

import errno
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from heterrec_pipeline import coder, storage
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.estimate import estimate_sizes
from heterrec_pipeline.dataflow.options import is_detached, on_dataflow
from heterrec_pipeline.engines import engine_of
from heterrec_pipeline.exchange import DISTRIBUTED
from heterrec_pipeline.flow import Generation
from heterrec_pipeline.job import Job
from heterrec_pipeline.observing.stages import Stage
from heterrec_pipeline.observing.watching import Tell, Watching, nobody
from heterrec_pipeline.progress import METER
from heterrec_pipeline.publishing import lease, parts
from heterrec_pipeline.runners import pipeline_options, use_stores
from heterrec_pipeline.sizing import check_layout
from heterrec_pipeline.worker_errors import found_in, stage_of
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.generation import Generation as OpenGeneration
from heterrec_schemas.generation import open_generation
from heterrec_schemas.manifest import LATEST_NAME, MANIFEST_NAME, Manifest
from heterrec_schemas.spec import FeatureSpec

if TYPE_CHECKING:
    from heterrec_pipeline.dataflow.submission import Submission

LOG = logging.getLogger(__name__)
STOPPED = KeyboardInterrupt.__name__
"""Stands in the text of what the local engine makes of one."""


@dataclass(frozen=True)
class BuildConfig:
    """What a build needs.

    Attributes:
        spec: the feature spec.
        spec_text: its text, which the generation keeps a copy of.
        input: the folder (or store) that relative paths of the spec start from.
        output: the folder (or store) that generations go to.
        pipeline_args: Beam's own flags.
        profile: a local file that a trace of the build goes to, or None.
    """

    spec: FeatureSpec
    spec_text: str
    input: str
    output: str
    pipeline_args: list[str] = field(default_factory=list)
    profile: str | None = None


@dataclass(frozen=True)
class BuildResult:
    """A published generation: its folder, its manifest, leftovers that were swept, and how it was made.

    Attributes:
        metrics: the counters of the run by name, as the engine has kept them; empty where it tells none.
        stages: what each stage did and when.
    """

    path: str
    manifest: Manifest
    swept: list[str]
    metrics: dict[str, int] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What a script would read: manifest, metrics, stages."""
        return {
            "manifest": self.manifest.model_dump(mode="json"),
            "metrics": self.metrics,
            "stages": [stage.as_json() for stage in self.stages],
        }

    def in_short(self) -> dict[str, Any]:
        """What a log says of it."""
        files = self.manifest.files
        return {
            "path": self.path,
            "content_sha256": self.manifest.content_sha256,
            "files": len(files),
            "bytes": sum(f.bytes for f in files),
            "swept": self.swept,
        }

    def open(self) -> OpenGeneration:
        """Open the generation, trusting the files that were just written."""
        return open_generation(self.path, verify="sizes")


def make_job(config: BuildConfig, now: datetime) -> Job:
    """Hold the spec against the data and lay the build out.

    Raises:
        HeterrecError: every mistake that can be told before reading the data.
    """
    checked = check_tables(config.spec, config.input)
    checked.raise_problems()
    sizes = estimate_sizes(config.spec, checked)
    check_layout(config.spec, sizes)
    runner = pipeline_options(config.pipeline_args).view_as(StandardOptions).runner
    return Job(
        spec=config.spec,
        spec_text=config.spec_text,
        generation=lease.new_generation_id(now),
        output=config.output.rstrip("/") or "/",
        attempt=secrets.token_hex(8),
        created=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        items=checked.items,
        joins=checked.joins,
        users=checked.users,
        log=checked.log,
        spill=runner not in DISTRIBUTED,
        sizes=sizes,
    )


def build(
    config: BuildConfig,
    announce: Callable[["Submission"], None] = lambda _: None,
    tell: Tell = nobody,
) -> BuildResult:
    """Read, fit, encode, group, split, write, publish.

    Args:
        config: what to build.
        announce: told of the job, once a remote service has taken it over.
        tell: called as the build goes on, with the events `begin`, `stage_began` and `stage` and their fields.

    Raises:
        HeterrecError: a mistake in the call, the spec or the data (exit code 2), or a failed run (exit code 1).
            Nothing was published then, and an earlier generation is untouched.
    """
    with Watching(config.profile, tell) as watching:
        return _build(config, announce, watching)


def _build(
    config: BuildConfig, announce: Callable[["Submission"], None], watching: Watching
) -> BuildResult:
    METER.reset()
    now = datetime.now(UTC)
    options = use_stores(config.pipeline_args)
    if on_dataflow(options):
        return _build_on_dataflow(config, options, announce, watching)
    engine = engine_of(options)
    config = replace(config, input=engine.path(config.input), output=engine.path(config.output))
    with watching.phase("check the spec and the input"):
        job = make_job(config, now)
    watching.begin(job, options.view_as(StandardOptions).runner)
    swept = lease.sweep(job.output, now)
    for generation in swept:
        LOG.info("swept the leftovers of the dead build %s", generation)
    try:
        lease.begin(job.output, job.generation, now)
        coder.register()
        with engine:
            with watching.phase("draw the graph"):
                pipeline = beam.Pipeline(options=options)
                pipeline | "Generation" >> Generation(job=job)
                watching.name_steps(pipeline)
            with watching.phase("run the graph"):
                result = engine.run(pipeline)
            watching.ended(result)
    except (Exception, KeyboardInterrupt) as error:
        raise failure(job, error) from error
    finally:
        parts.forget()
    return published(job, swept, watching)


def _build_on_dataflow(
    config: BuildConfig,
    options: PipelineOptions,
    announce: Callable[["Submission"], None],
    watching: Watching,
) -> BuildResult:
    if is_detached(options, no_wait=False):
        raise CallError("a dry run or a template's job has nothing to wait for: use submit()")
    with watching.phase("submit the job"):
        submission = submit(config)
    watching.begin(submission.job, options.view_as(StandardOptions).runner)
    announce(submission)
    with watching.phase("wait for the job"):
        submission.wait()
    watching.ended(submission.result, datetime.fromisoformat(submission.job.created))
    return published(submission.job, submission.swept, watching)


def submit(config: BuildConfig) -> "Submission":
    """Hand a build to Dataflow and return; its job goes on and publishes by itself.

    Raises:
        HeterrecError: a mistake in the call, the spec or the data, or the job cannot be created.
    """
    from heterrec_pipeline.dataflow.submission import submit as hand_over

    return hand_over(config, use_stores(config.pipeline_args))


def published(job: Job, swept: list[str], watching: Watching) -> BuildResult:
    """What a run that has ended well left behind."""
    text = storage.read_bytes(storage.join(job.root, MANIFEST_NAME))
    manifest = Manifest.model_validate_json(text)
    return BuildResult(job.root, manifest, swept, watching.metrics, watching.stages)


def failure(job: Job, error: BaseException) -> BaseException:
    """Clean up behind a run that has ended early; returns what to raise."""
    stopped = isinstance(error, KeyboardInterrupt) or STOPPED in str(error)
    try:
        stands = storage.exists(storage.join(job.root, MANIFEST_NAME))
    except HeterrecError:  # the store that has failed the run
        return RunError(
            f"the run failed, and what it has left cannot be looked at: {reason(error).rstrip('.')}",
            todo=f"Run again when the store is well. {job.root} counts only if it has a {MANIFEST_NAME}.",
        )
    if stands:
        why = "it was stopped" if stopped else reason(error).rstrip(".")
        return RunError(
            f"the run ended early, but its generation {job.root} stands: {why}",
            todo=f"{LATEST_NAME} may name an earlier one still: run again, or open this one by its folder.",
        )
    lease.discard(job.root)
    return KeyboardInterrupt() if stopped else as_heterrec_error(error)


def reason(error: BaseException) -> str:
    """What an engine's exception has to say, in one line."""
    found = found_in(error)
    text = " ".join(str(error).split())
    return found.message if found else f"{type(error).__name__}: {text[-600:]}"


def as_heterrec_error(error: BaseException) -> HeterrecError:
    """An engine's exception as one of the project's: the one it carries, or a failure of the run."""
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
            todo="Free space where --output lies, then run the same command again.",
        )
    return RunError(
        f"the run failed{where}: {reason(error)}",
        todo="Nothing was published. Run again with --debug for the whole traceback.",
    )
