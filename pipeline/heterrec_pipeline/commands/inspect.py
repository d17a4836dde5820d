"""`heterrec-pipeline inspect`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import DebugOption, JsonOption, app, guarded
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import text_argument


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A generation, or an output folder (its latest).")],
    item: Annotated[str | None, typer.Option(help="Decode the tokens of this item.")] = None,
    user: Annotated[str | None, typer.Option(help="Show this user's sequences in words.")] = None,
    drift: Annotated[
        bool, typer.Option("--drift", help="Show how a refresh differs from its parent.")
    ] = False,
    verify: Annotated[bool, typer.Option(help="Check the hash of every file first.")] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the contents of a generation."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.commands.generation_display import run_inspect

        run_inspect(
            path,
            item=None if item is None else text_argument(item),
            user=None if user is None else text_argument(user),
            drift=drift,
            as_json=as_json,
            verify=verify,
            console=Console(markup=False),
        )
