"""`heterrec-pipeline convert`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import DebugOption, JsonOption, app, guarded
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json


class View(StrEnum):
    """What other tools read."""

    huggingface = "huggingface"
    recbole = "recbole"


@app.command()
def convert(
    path: Annotated[str, typer.Argument(help="A generation, or an output folder (its latest).")],
    output: Annotated[
        str,
        typer.Argument(
            help="The folder to write, which must not exist. It appears when it is complete. For RecBole, its name is that "
            "of the data set."
        ),
    ],
    to: Annotated[
        View,
        typer.Option(
            "--to",
            help="huggingface: the shards and a dataset card for datasets.load_dataset and the hub. "
            "recbole: atomic files and their settings.",
        ),
    ],
    verify: Annotated[bool, typer.Option(help="Check the hash of every file first.")] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a generation as files for other tools (docs/views.md)."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_schemas import open_generation
            from heterrec_schemas.leases import reader_lease
            from heterrec_schemas.views import write_huggingface, write_recbole

        write = {View.huggingface: write_huggingface, View.recbole: write_recbole}[to]
        generation = open_generation(path, verify="hashes" if verify else "sizes")
        with reader_lease(generation.folder.path, "convert"):
            rows = write(generation, output)
        if as_json:
            found = {"generation": generation.manifest.generation, "to": to.value}
            print_json({**found, "output": output, "rows": rows})
        else:
            Console(markup=False).print(
                f"Wrote {len(rows)} files with {sum(rows.values()):,} rows to {output}.",
                soft_wrap=True,
            )
