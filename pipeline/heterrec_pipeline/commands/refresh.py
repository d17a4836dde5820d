"""`heterrec-pipeline refresh`."""

import sys
import time
from typing import Annotated

import typer

from heterrec_pipeline.commands.build import report_build
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
    RefitOption,
    RunnerOption,
    SpecOption,
    SweepAfterOption,
    TimeLimitOption,
    WorkersOption,
    app,
    guarded,
    names_in,
    parse_duration,
    spec_text,
)
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_pipeline.telemetry.json_log import JsonLog
from heterrec_schemas.feature_spec import parse_spec


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def refresh(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            help="The generation to continue: its folder, or the output folder whose latest.json names it.",
        ),
    ],
    spec: SpecOption,
    input: InputOption,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", help="The folder for generations; the base's own folder if left out."
        ),
    ] = None,
    refit: RefitOption = "",
    publish: Annotated[
        bool | None,
        typer.Option(
            "--publish/--no-publish",
            help="Let latest.json name the result, also if it does not name the base; or never.",
            show_default="if it names the base",
        ),
    ] = None,
    allow_drift: Annotated[
        bool,
        typer.Option(
            "--allow-drift", help="Publish also if the result drifted too far from the base."
        ),
    ] = False,
    skip_unchanged: Annotated[
        bool,
        typer.Option(
            "--skip-unchanged",
            help="Write nothing if the base was made from the same input by the same spec.",
        ),
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse/--no-reuse",
            help="Do not parse again the input files that are as the base has read them.",
        ),
    ] = True,
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
    """Continue a generation with the present input: no id moves, boundaries and quantizers stay."""
    log = context.obj or JsonLog(sys.stderr) if log_json else None
    with guarded(debug, log, time_limit, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.building import BuildConfig
            from heterrec_pipeline.checking.parent import output_of
            from heterrec_pipeline.runtime.flags import use_stores, with_runner
            from heterrec_pipeline.runtime.workers import parse_workers

        started = time.monotonic()
        options = use_stores(with_runner(runner, context.args))
        text = spec_text(spec)
        config = BuildConfig(
            parse_spec(text, where=spec),
            text,
            input,
            output if output is not None else output_of(base),
            profile=profile,
            options=options,
            workers=parse_workers(workers),
            sweep_after=parse_duration("--sweep-after", sweep_after),
            allow_open_ports=allow_open_ports,
            base=base,
            refit=names_in(refit),
            publish=publish,
            allow_drift=allow_drift,
            skip_unchanged=skip_unchanged,
            reuse=reuse,
        )
        report_build(config, log, started, no_wait=no_wait, as_json=as_json, quiet=quiet)
