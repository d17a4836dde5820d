"""`heterrec-pipeline refresh`."""

from typing import Annotated

import typer

from heterrec_pipeline.commands.run_build import RunOptions, run_build, with_run_options
from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    InputOption,
    RefitOption,
    SpecOption,
    app,
    names_in,
    plain_path,
)


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
@with_run_options
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
            "--output",
            help="The folder for generations; the base's own folder if left out.",
            callback=plain_path,
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
    *,
    run: RunOptions,
) -> None:
    """Continue a generation with the present input: no id moves, boundaries and quantizers stay."""
    run_build(
        context,
        spec,
        input,
        output,
        run,
        base=base,
        refit=names_in(refit),
        publish=publish,
        allow_drift=allow_drift,
        skip_unchanged=skip_unchanged,
        reuse=reuse,
    )
