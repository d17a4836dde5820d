"""The command `index`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DebugOption,
    JsonOption,
    QuietOption,
    app,
    error_messages,
    progress,
)
from heterrec_schemas.command_line import importing, print_json


@app.command()
def index(
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder that `export` wrote.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="auto|flat|ivf|hnsw",
            help="auto: flat up to 100,000 items, then ivf. flat is exact search.",
        ),
    ] = "auto",
    k: Annotated[
        int, typer.Option("-k", help="Number of items of the measured recall.", min=1, max=10_000)
    ] = 100,
    min_recall: Annotated[
        float,
        typer.Option(
            "--min-recall",
            help="Least share of the k best items that searches find, with which the index is published.",
        ),
    ] = 0.99,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Build the index of a bundle (faiss), and measure its recall on users of the bundle against exact search."""
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.retrieval.build_index import build_index

        with progress(quiet) as display:
            info = build_index(bundle, kind, k, min_recall, report=display.show)
        if as_json:
            print_json(info.model_dump())
        elif not quiet:
            settings = ", ".join(f"{name} {value:,}" for name, value in info.settings.items())
            console = Console(markup=False, highlight=False, soft_wrap=True)
            console.print(
                f"Indexed {bundle}: {info.kind}{f' ({settings})' if settings else ''}, recall@{info.k} {info.recall:.4f} "
                f"on {info.users:,} users, {info.bytes / 1e6:.1f} MB"
            )
