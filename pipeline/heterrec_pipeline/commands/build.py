"""`heterrec-pipeline build`."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    QuietOption,
    RunnerOption,
    SpecOption,
    TimeLimitOption,
    app,
    guarded,
    json_log,
    spec_text,
)
from heterrec_pipeline.runtime.startup import many_imports
from heterrec_schemas.feature_spec import parse_spec

if TYPE_CHECKING:
    from heterrec_pipeline.building.dataflow import Submission


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def build(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    output: Annotated[
        str,
        typer.Option("--output", help="The folder that generations go to (local, gs://, s3://)."),
    ],
    runner: RunnerOption = None,
    time_limit: TimeLimitOption = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="On Dataflow: end when the job is submitted; it publishes."),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            help="Write a trace of the build there, for Perfetto or Chrome (.gz: packed).",
        ),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log to standard error as JSON, a line a stage.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Build a generation from the whole input and publish it."""
    log = json_log() if log_json else None
    with guarded(debug, log, time_limit):
        with many_imports():
            from heterrec_pipeline.building.config import BuildConfig
            from heterrec_pipeline.building.run import build as run
            from heterrec_pipeline.building.run import submit
            from heterrec_pipeline.commands.display import progress, submitted, summary
            from heterrec_pipeline.runtime.dataflow.options import is_detached
            from heterrec_pipeline.runtime.flags import pipeline_options, with_runner
            from heterrec_pipeline.telemetry.monitor import ignore_event

        started = time.monotonic()
        flags = with_runner(runner, context.args)
        text = spec_text(spec, flags)
        parsed = parse_spec(text, where=spec)
        errors = Console(stderr=True, markup=False)
        for warning in parsed.warnings():
            if log:
                log("warning", message=warning)
                continue
            errors.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        config = BuildConfig(parsed, text, input, output, flags, profile)
        if is_detached(pipeline_options(config.pipeline_args), no_wait):
            submission = submit(config)
            if log:
                log("submitted", **submission.in_short())
            submitted(Console(markup=False), submission, as_json=as_json)
            return

        def on_submitted(submission: "Submission") -> None:
            if log:
                log("submitted", **submission.in_short())
            else:
                submitted(errors, submission)

        with progress(errors, quiet=quiet or log is not None):
            result = run(config, on_submitted, log or ignore_event)
        seconds = round(time.monotonic() - started, 3)
        if log:
            log("published", **result.in_short(), seconds=seconds)
        if as_json:
            print(json.dumps({"path": result.path, "seconds": seconds} | result.as_json()))
        elif not quiet:
            summary(Console(markup=False), result, seconds)
