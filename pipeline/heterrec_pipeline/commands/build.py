"""`heterrec-pipeline build`."""

from typing import Annotated

import typer

from heterrec_pipeline.commands.run_build import RunOptions, run_build, with_run_options
from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    InputOption,
    SpecOption,
    app,
    plain_path,
)


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
@with_run_options
def build(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            help="The folder for generations (local, gs://, s3://).",
            callback=plain_path,
        ),
    ],
    run: RunOptions,
) -> None:
    """Build a generation from the whole input and publish it."""
    run_build(context, spec, input, output, run)
