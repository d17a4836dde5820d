"""The command `index`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DebugOption,
    JsonOption,
    QuietOption,
    app,
    error_messages,
)
from heterrec_schemas.command_line import importing, print_json


@app.command()
def index(
    bundle: Annotated[
        str, typer.Option("--bundle", help="Folder that `export` wrote, on this machine.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="auto|flat|ivf|hnsw",
            help="auto: flat (exact) up to 50,000 items, ivf above.",
        ),
    ] = "auto",
    k: Annotated[
        int, typer.Option("-k", help="Number of items of the measured recall.", min=1, max=2**20)
    ] = 100,
    min_recall: Annotated[
        float,
        typer.Option(
            "--min-recall",
            help="Recall at k, against exact search, below which nothing is published.",
        ),
    ] = 0.99,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Build the index of a bundle; its recall is measured on vectors of real users and written down."""
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.retrieval.build_index import build_index

        err = Console(stderr=True, markup=False, highlight=False)
        info = build_index(
            bundle, kind, k, min_recall, report=lambda line: None if quiet else err.print(line)
        )
        if as_json:
            print_json({"bundle": bundle, **info.model_dump()})
        elif not quiet:
            settings = "".join(f", {name} {value:,}" for name, value in info.settings.items())
            Console(markup=False, highlight=False, soft_wrap=True).print(
                f"{bundle}: index {info.kind}{settings}: recall@{info.k} {info.recall:.4f} on {info.users:,} users, "
                f"{info.bytes / 1e6:.1f} MB"
            )
