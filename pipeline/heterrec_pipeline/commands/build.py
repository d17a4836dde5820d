"""`heterrec-pipeline build`."""

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    LogJsonOption,
    NoWaitOption,
    OpenPortsOption,
    ProfileOption,
    QuietOption,
    RunnerOption,
    SpecOption,
    SweepAfterOption,
    TimeLimitOption,
    WorkersOption,
    app,
    guarded,
    parse_duration,
    print_warning,
    spec_text,
)
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_pipeline.telemetry.json_log import JsonLog
from heterrec_schemas.command_line import print_json
from heterrec_schemas.feature_spec import parse_spec

if TYPE_CHECKING:
    from heterrec_pipeline.building import BuildConfig, BuildResult
    from heterrec_pipeline.building.dataflow import Submission


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def build(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    output: Annotated[
        str, typer.Option("--output", help="The folder for generations (local, gs://, s3://).")
    ],
    runner: RunnerOption = None,
    time_limit: TimeLimitOption = None,
    workers: WorkersOption = "auto",
    allow_open_ports: OpenPortsOption = False,
    no_wait: NoWaitOption = False,
    sweep_after: SweepAfterOption = "1h",
    profile: ProfileOption = None,
    log_json: LogJsonOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Build a generation from the whole input and publish it."""
    log = context.obj or JsonLog(sys.stderr) if log_json else None
    with guarded(debug, log, time_limit, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.building import BuildConfig
            from heterrec_pipeline.runtime.flags import use_stores, with_runner
            from heterrec_pipeline.runtime.workers import parse_workers

        started = time.monotonic()
        options = use_stores(with_runner(runner, context.args))
        text = spec_text(spec)
        config = BuildConfig(
            parse_spec(text, where=spec),
            text,
            input,
            output,
            profile=profile,
            options=options,
            workers=parse_workers(workers),
            sweep_after=parse_duration("--sweep-after", sweep_after),
            allow_open_ports=allow_open_ports,
        )
        report_build(config, log, started, no_wait=no_wait, as_json=as_json, quiet=quiet)


def report_build(
    config: "BuildConfig",
    log: "JsonLog | None",
    started: float,
    *,
    no_wait: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build, or submit the build, and print what the options ask for.

    Args:
        config: the build.
        log: takes the events; None without `--log-json`.
        started: when the command began, on the monotonic clock.
        no_wait: return once a job is submitted.
        as_json: print JSON to standard output.
        quiet: print neither progress nor tables.
    """
    from heterrec_pipeline.building import submit, unchanged
    from heterrec_pipeline.commands.build_display import print_submission
    from heterrec_pipeline.runtime.dataflow.options import is_detached

    errors = Console(stderr=True, markup=False)
    for warning in config.spec.warnings():
        if log:
            log("warning", message=warning)
        else:
            print_warning(errors, warning)
    if (same := unchanged(config)) is not None:
        _print_unchanged(same, log, as_json=as_json, quiet=quiet)
    elif is_detached(config.options, no_wait):
        submission = submit(config)
        if log:
            log("submitted", **submission.summary())
        print_submission(Console(markup=False), submission, as_json=as_json)
    else:
        config = replace(config, skip_unchanged=False)
        _build(config, log, errors, started, as_json=as_json, quiet=quiet)


def _print_unchanged(
    same: "BuildResult", log: "JsonLog | None", *, as_json: bool, quiet: bool
) -> None:
    if log:
        log("unchanged", path=same.path)
    if as_json:
        print_json({"path": same.path, "seconds": 0} | same.as_json())
    elif not quiet:
        console = Console(markup=False)
        console.print(f"Nothing has changed since {same.path}. Nothing was written.")


def _build(
    config: "BuildConfig",
    log: "JsonLog | None",
    errors: Console,
    started: float,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from heterrec_pipeline.building import build as build_generation
    from heterrec_pipeline.commands.build_display import (
        print_submission,
        print_summary,
        show_progress,
    )

    def on_event(event: str, **fields: Any) -> None:
        if log:
            log(event, **fields)

    def on_submitted(submission: "Submission") -> None:
        on_event("submitted", **submission.summary())
        if not log:
            print_submission(errors, submission)

    with show_progress(errors, quiet=quiet or log is not None):
        result = build_generation(config, on_submitted, on_event)
    seconds = round(time.monotonic() - started, 3)
    for warning in result.warnings:
        if log:
            log("warning", message=warning)
        else:
            print_warning(errors, warning)
    on_event("published", **result.summary(), seconds=seconds)
    if as_json:
        print_json({"path": result.path, "seconds": seconds} | result.as_json())
    elif not quiet:
        print_summary(Console(markup=False), result, seconds)
