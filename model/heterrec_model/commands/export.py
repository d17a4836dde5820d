"""The command `export`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    CheckpointOption,
    DataOption,
    DebugOption,
    JsonOption,
    QuietOption,
    RunOption,
    app,
    error_messages,
    progress,
)
from heterrec_schemas.command_line import importing, print_json


@app.command()
def export(
    run: RunOption,
    data: DataOption,
    output: Annotated[
        str,
        typer.Option("--output", help="Folder of the bundle, which appears when it is complete."),
    ],
    checkpoint: CheckpointOption = "best",
    histories: Annotated[
        bool,
        typer.Option(
            "--histories/--no-histories",
            help="Whether the bundle has the histories of all users, for recommendations by the id of a user.",
        ),
    ] = True,
    segment_by: Annotated[
        str | None,
        typer.Option(
            "--segment-by",
            metavar="FEATURE",
            help="User feature by which popular items are listed; default: the first categorical one with single values.",
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate", help="Whether the model card has metrics of the test split."
        ),
    ] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Export a run as a bundle for `index`, `recommend --bundle` and `serve`, which need no PyTorch.

    The exported user tower is compared with the model on all users first; where they differ by more than 1e-5 in any number,
    there is no bundle.
    """
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.serving.export import export as run_export

        with progress(quiet) as display:
            done = run_export(
                run,
                data,
                output,
                checkpoint=checkpoint,
                histories=histories,
                segment_by=segment_by,
                evaluate=evaluate,
                on_progress=display.show,
            )
        if as_json:
            print_json(done.to_json())
        elif not quiet:
            body = done.to_json()
            words = "Exported" if done.new else "Already there:"
            console = Console(markup=False, highlight=False, soft_wrap=True)
            console.print(
                f"{words} {done.path}: {body['items']:,} items, {body['users']:,} histories, {body['bytes'] / 1e6:.1f} MB"
            )
            console.print(
                f"The exported tower differs from PyTorch by at most {done.info.equality.largest_difference:.1e} "
                f"on {done.info.equality.users:,} users"
            )
            console.print(f"fingerprint {done.info.fingerprint}")
