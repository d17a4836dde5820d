"""`heterrec-pipeline report`."""

from typing import Annotated

import typer

from heterrec_pipeline.commands.shared import DebugOption, JsonOption, app, guarded, plain_path
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json


@app.command()
def report(
    path: Annotated[str, typer.Argument(help="A generation, or an output folder (its latest).")],
    output: Annotated[
        str | None,
        typer.Option(
            help="The file to write; without it report.html in the generation's folder.",
            callback=plain_path,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Another generation to compare with; without it the parent."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a page with pictures of a generation: rows, histories, features, drift, examples."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.report.write import write_report

        written = write_report(path, output, against)
        if as_json:
            print_json({"report": written})
        else:
            typer.echo(written)
