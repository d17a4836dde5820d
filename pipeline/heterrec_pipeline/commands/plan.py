"""`heterrec-pipeline plan`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    ParamOption,
    ParentOption,
    RefitOption,
    RunnerOption,
    SpecOption,
    app,
    guarded,
    names_in,
    parameters_in,
)
from heterrec_pipeline.files.spec_text import spec_text
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json
from heterrec_schemas.feature_spec import parse_spec


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def plan(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    param: ParamOption = None,
    base: ParentOption = None,
    refit: RefitOption = "",
    runner: RunnerOption = None,
    full_scan: Annotated[
        bool,
        typer.Option(
            "--full-scan",
            help="Read and build everything in a temporary folder: all numbers are then exact.",
        ),
    ] = False,
    tune_tokens: Annotated[
        bool,
        typer.Option(
            "--tune-tokens",
            help="Compare settings of the tokens of embedding features by the nearest neighbours that they keep.",
        ),
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Estimate the results and resources of a build from a build of a sample; nothing is published."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.planning.plan import PlanConfig
            from heterrec_pipeline.planning.plan import plan as make_plan
            from heterrec_pipeline.planning.plan_display import as_json as plan_json
            from heterrec_pipeline.planning.plan_display import print_plan
            from heterrec_pipeline.runtime.flags import use_stores, with_runner

        flags = with_runner(runner, context.args)
        use_stores(flags)
        text = spec_text(spec, parameters_in(param))
        parsed = parse_spec(text, where=spec)
        found = make_plan(
            PlanConfig(
                parsed,
                text,
                input,
                flags,
                full_scan,
                base=base,
                refit=names_in(refit),
                tune_tokens=tune_tokens,
            )
        )
        if as_json:
            print_json(plan_json(found))
        else:
            print_plan(Console(markup=False), found)
