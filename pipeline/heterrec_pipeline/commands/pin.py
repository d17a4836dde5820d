"""`heterrec-pipeline pin` and `unpin`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    DebugOption,
    GenerationOption,
    JsonOption,
    OutputArgument,
    app,
    guarded,
)
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json, text_argument


@app.command()
def pin(
    output: OutputArgument,
    generation: GenerationOption,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, for people; shown by generations.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Pin a generation: purge keeps it until it is unpinned."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.keeping import pin as pin_generation

        found = pin_generation(
            output, generation, None if reason is None else text_argument(reason)
        )
        if as_json:
            print_json({"output": output, **found})
        else:
            Console(markup=False).print(f"{generation} is pinned.", soft_wrap=True)


@app.command()
def unpin(
    output: OutputArgument,
    generation: GenerationOption,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove the pin of a generation."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.keeping import unpin as unpin_generation

        pinned = unpin_generation(output, generation)
        if as_json:
            print_json({"output": output, "generation": generation, "was_pinned": pinned})
        else:
            text = (
                f"{generation} is no longer pinned." if pinned else f"{generation} was not pinned."
            )
            Console(markup=False).print(text, soft_wrap=True)
