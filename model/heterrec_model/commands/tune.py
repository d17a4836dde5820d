"""The command `tune`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import DebugOption, JsonOption, QuietOption, app, error_messages
from heterrec_model.commands.study import (
    PathsOption,
    ProcessesOption,
    ResultsOption,
    StudyArgument,
)
from heterrec_schemas.command_line import importing, print_json


@app.command()
def tune(
    file: StudyArgument,
    runs: Annotated[
        str, typer.Option("--runs", help="Folder of the run folders, on this machine.")
    ],
    results: ResultsOption = "results",
    data: PathsOption = [],  # noqa: B006
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", help="Number of trials per model and data set; default: tune.trials.", min=1
        ),
    ] = None,
    processes: ProcessesOption = 1,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Begin anew where trials of another search exist, and delete them."
        ),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Search the settings of all models of a study, with an equal number of trials, by their validation metric.

    The same call goes on after any interruption. Writes the trials as CSV and the best settings as YAML.
    """
    continues = "stopped; the same call continues"
    with error_messages(debug, as_json, stopped=continues):
        with importing():
            from heterrec_model.studies.study_file import load_study
            from heterrec_model.studies.tuning import tune as run_tune

        study = load_study(file).with_paths(data)
        found, stopped = run_tune(
            study,
            runs=runs,
            results=results,
            trials=trials,
            processes=processes,
            again=again,
            quiet=quiet,
        )
        if as_json:
            print_json({"searches": [search.to_json() for search in found], "stopped": stopped})
        elif not quiet:
            console = Console(markup=False, highlight=False, soft_wrap=True)
            for search in found:
                line = f"{search.data}, {search.model}: {search.trials} trials"
                if search.best is not None:
                    line += f", best {search.metric} {search.best.value:.4f}: {search.settings}"
                console.print(line)
            if stopped:
                console.print(f"{stopped}: the runs are saved. The same call continues.")
        lost = [s for s in found if s.best is None] if stopped is None else []
        for search in lost:
            line = f"failed: {search.data}, {search.model}: none of {search.trials} trials has a result; their logs say why"
            typer.echo(line, err=True)
        if stopped == "SIGINT" or lost:
            raise typer.Exit(1)
