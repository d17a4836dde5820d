"""What `build` and `refresh` share: their options, and the run from the call to the printed result."""

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    DebugOption,
    JsonOption,
    OpenPortsOption,
    ParamOption,
    RunnerOption,
    SweepAfterOption,
    TimeLimitOption,
    guarded,
    parameters_in,
    parse_duration,
    print_warning,
)
from heterrec_pipeline.files.spec_text import spec_text
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_pipeline.telemetry.json_log import JsonLog
from heterrec_schemas.command_line import print_json
from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import parse_spec

if TYPE_CHECKING:
    from heterrec_pipeline.building import BuildConfig, BuildResult
    from heterrec_pipeline.building.dataflow import Submission


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that `build` and `refresh` share, in the order of their help."""

    param: ParamOption = None
    runner: RunnerOption = None
    time_limit: TimeLimitOption = None
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Worker processes of the local engine: a number, or auto (by cores and input size).",
        ),
    ] = "auto"
    allow_open_ports: OpenPortsOption = False
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait", help="On Dataflow: exit once the job is submitted; it publishes."
        ),
    ] = False
    sweep_after: SweepAfterOption = "1h"
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            help="Write a trace of the build for Perfetto or Chrome (.gz: compressed).",
        ),
    ] = None
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Write report.html, a page with pictures, beside the manifest."
        ),
    ] = False
    log_json: Annotated[
        bool,
        typer.Option("--log-json", help="Log to standard error as JSON, one line per stage."),
    ] = False
    as_json: JsonOption = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no tables.")] = False
    debug: DebugOption = False


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `run` of a command, its last one, by an option for each field of `RunOptions`."""
    *own, _ = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(
            f.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=f.default, annotation=f.type
        )
        for f in fields(RunOptions)
    ]

    @wraps(command)
    def call(**values: Any) -> None:
        run = RunOptions(**{o.name: values.pop(o.name) for o in options})
        command(**values, run=run)

    parameters = [*own, *options]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def run_build(
    context: typer.Context,
    spec: str,
    input: str,
    output: str | None,
    run: RunOptions,
    **of_refresh: Any,
) -> None:
    """Run `build` or `refresh`.

    Args:
        context: the call, with Beam's flags.
        spec: the file of the spec.
        input: the folder of the input.
        output: the folder for generations; None for that of the parent.
        run: the shared options.
        of_refresh: further fields of `BuildConfig`, such as `base`.
    """
    log = context.obj or JsonLog(sys.stderr) if run.log_json else None
    with guarded(run.debug, log, run.time_limit, as_json=run.as_json):
        with fast_imports():
            from heterrec_pipeline.building import BuildConfig
            from heterrec_pipeline.checking.parent import output_of
            from heterrec_pipeline.report.write import check_matplotlib
            from heterrec_pipeline.runtime.flags import use_stores, with_runner
            from heterrec_pipeline.runtime.workers import parse_workers

        started = time.monotonic()
        if run.report:
            check_matplotlib()
        options = use_stores(with_runner(run.runner, context.args))
        text = spec_text(spec, parameters_in(run.param))
        config = BuildConfig(
            parse_spec(text, where=spec),
            text,
            input,
            output if output is not None else output_of(of_refresh["base"]),
            profile=run.profile,
            options=options,
            workers=parse_workers(run.workers),
            sweep_after=parse_duration("--sweep-after", run.sweep_after),
            allow_open_ports=run.allow_open_ports,
            **of_refresh,
        )
        _report(config, log, started, run)


def _report(
    config: "BuildConfig",
    log: JsonLog | None,
    started: float,
    run: RunOptions,
) -> None:
    """Build, or submit the build, and print what the options ask for.

    Args:
        config: the build.
        log: takes the events; None without `--log-json`.
        started: when the command began, on the monotonic clock.
        run: the shared options.
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
    detached = is_detached(config.options, run.no_wait)
    if run.report and detached:
        raise CallError(
            "--report needs the end of the build, and this command does not wait for it",
            todo="Leave --report out; once the generation is published, run heterrec-pipeline report on it.",
        )
    if (same := unchanged(config)) is not None:
        _print_unchanged(same, log, run)
        _write_report(same, errors, run)
    elif detached:
        submission = submit(config)
        if log:
            log("submitted", **submission.summary())
        print_submission(Console(markup=False), submission, as_json=run.as_json)
    else:
        config = replace(config, skip_unchanged=False)
        _build(config, log, errors, started, run)


def _print_unchanged(same: "BuildResult", log: JsonLog | None, run: RunOptions) -> None:
    if log:
        log("unchanged", path=same.path)
    if run.as_json:
        print_json({"path": same.path, "seconds": 0} | same.as_json())
    elif not run.quiet:
        console = Console(markup=False)
        console.print(
            f"Nothing has changed since {same.path}. Nothing was written.", soft_wrap=True
        )


def _build(
    config: "BuildConfig",
    log: JsonLog | None,
    errors: Console,
    started: float,
    run: RunOptions,
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

    with show_progress(errors, quiet=run.quiet or log is not None):
        result = build_generation(config, on_submitted, on_event)
    seconds = round(time.monotonic() - started, 3)
    for warning in result.warnings:
        if log:
            log("warning", message=warning)
        else:
            print_warning(errors, warning)
    on_event("published", **result.summary(), seconds=seconds)
    if run.as_json:
        print_json({"path": result.path, "seconds": seconds} | result.as_json())
    elif not run.quiet:
        print_summary(Console(markup=False), result, seconds)
    _write_report(result, errors, run)


def _write_report(result: "BuildResult", errors: Console, run: RunOptions) -> None:
    """Write the report of a published generation, if it is asked for."""
    if run.report:
        from heterrec_pipeline.report.write import write_report

        errors.print(f"The report: {write_report(result.path)}", soft_wrap=True)
