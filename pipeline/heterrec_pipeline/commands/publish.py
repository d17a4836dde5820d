"""`heterrec-pipeline publish`."""

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
from heterrec_schemas.command_line import print_json
from heterrec_schemas.manifest import LATEST_NAME


@app.command()
def publish(
    output: OutputArgument,
    generation: GenerationOption,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            help="The generation that latest.json must name now; otherwise nothing is changed. By default the one that it "
            "names when the command begins.",
        ),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Check the hash of every file first.")] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let latest.json name a generation: a rollback, or a refresh that was not published."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.keeping import publish as publish_generation

        before = publish_generation(output, generation, expect, "hashes" if verify else "sizes")
        if as_json:
            print_json({"output": output, "generation": generation, "before": before})
        elif before == generation:
            Console(markup=False).print(
                f"{LATEST_NAME} already names {generation}.", soft_wrap=True
            )
        else:
            text = f"{LATEST_NAME} names {generation} now; before, {before or 'none'}."
            Console(markup=False).print(text, soft_wrap=True)
