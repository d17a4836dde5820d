"""The command `train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DataOption,
    DebugOption,
    JsonOption,
    QuietOption,
    RunOption,
    app,
    error_messages,
)
from heterrec_schemas.command_line import importing, print_json
from heterrec_schemas.errors import CallError


@app.command()
def train(
    data: DataOption,
    run: RunOption,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            help="A YAML file, or a shipped configuration: cpu, gpu, paper. Default with --resume: that of the run; with "
            "--warm-start: that of the run to start from.",
        ),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="RUN",
            help="Start with the weights of a finished run, whose generation is that of --data or an ancestor of it.",
        ),
    ] = None,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
    ] = [],  # noqa: B006
    ablate: Annotated[
        str | None,
        typer.Option(
            "--ablate",
            metavar="PART",
            help="Train HeterRec without a part: htfl, mfk, hct, lmp, token_lmp or gate; see docs/model.md.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model into a run folder; SIGTERM and Ctrl-C save it before they stop it. torchrun starts several processes."""
    continues = "stopped; train --resume continues from the last checkpoint"
    with error_messages(debug, as_json, stopped=continues):
        with importing():
            from heterrec_model.config import ablated, load_config
            from heterrec_model.runs.run_folder import CONFIG, RunFolder
            from heterrec_model.training.train import train as run_train
            from heterrec_model.training.training_display import show_result

        saved = RunFolder(run)
        if config is None and resume and CONFIG in saved.contents():
            config = str(saved.path / CONFIG)
        if config is None and warm_start is not None:
            RunFolder(warm_start).config()  # its messages name the run
            config = str(Path(warm_start) / CONFIG)
        if config is None:
            raise CallError(
                "--config is required to start a run",
                todo="Use a file, or a shipped configuration such as cpu.",
            )
        chosen = load_config(config, settings)
        result = run_train(
            chosen if ablate is None else ablated(chosen, ablate),
            data=data,
            run=run,
            warm_start=warm_start,
            resume=resume,
            quiet=quiet,
        )
        if result.main and as_json:
            print_json(result.to_json())
        elif result.main and not quiet:
            show_result(Console(markup=False), result)
        if result.stopped == "SIGINT":
            raise typer.Exit(1)
