"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DATA_HELP,
    CheckpointOption,
    DebugOption,
    JsonOption,
    QuietOption,
    app,
    error_messages,
    progress,
)
from heterrec_schemas.command_line import importing, print_json
from heterrec_schemas.errors import CallError, with_extra


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of the run.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help=f"{DATA_HELP} Without it the page shows the training alone."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Path of the page; default: report.html in the run."),
    ] = None,
    baseline: Annotated[
        list[str],
        typer.Option(
            "--baseline",
            metavar="RUN|BASELINE",
            help="Another run on the same generation, or a counting baseline such as popular; may be repeated.",
        ),
    ] = [],  # noqa: B006
    split: Annotated[str, typer.Option("--split", help="validation or test.")] = "test",
    checkpoint: CheckpointOption = "best",
    users: Annotated[
        int, typer.Option("--users", help="Maximum number of users that are ranked.", min=1)
    ] = 10_000,
    examples: Annotated[
        int,
        typer.Option("--examples", help="Number of users in words; 0 for none.", min=0, max=20),
    ] = 4,
    feature: Annotated[
        str | None,
        typer.Option(
            "--feature",
            help="Categorical item feature that colours the map; default: one is chosen.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a page with pictures of a run: one HTML file without scripts and requests."""
    with error_messages(debug, as_json):
        try:
            with importing():
                from heterrec_model.reporting.measured import Wanted
                from heterrec_model.reporting.report import write_report
        except ImportError as error:
            raise CallError(
                f"report needs a package that is not installed: {error}",
                todo=with_extra("report"),
            ) from None
        wanted = Wanted(split, users, tuple(baseline), examples, feature)
        with progress(quiet) as display:
            path = write_report(
                run,
                data,
                output,
                checkpoint=checkpoint,
                wanted=wanted,
                on_progress=display.show,
            )
        if as_json:
            print_json({"report": str(path), "bytes": path.stat().st_size})
        elif not quiet:
            Console(markup=False).print(f"Report: {path}", highlight=False, soft_wrap=True)
