"""The command `study`."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from heterrec_model.commands.shared import DebugOption, JsonOption, QuietOption, app, error_messages
from heterrec_schemas.command_line import importing, print_json
from heterrec_schemas.errors import CallError

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
ResultsOption = Annotated[
    str,
    typer.Option(
        "--results", help="Folder of the results; those of the study are in a folder of its name."
    ),
]
RunsOption = Annotated[
    str | None, typer.Option("--runs", help="Folder of the run folders, on this machine.")
]
PathsOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="NAME=PATH",
        help="Another path of a data set of the study; may be repeated.",
    ),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", help="Number of runs in progress at a time.", min=1, max=1024)
]


@app.command()
def study(
    file: StudyArgument,
    runs: RunsOption = None,
    results: ResultsOption = "results",
    data: PathsOption = [],  # noqa: B006
    processes: ProcessesOption = 1,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Replace rows and runs that were made with other settings or data."
        ),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only",
            help="Write tables and figures of the rows that exist; needs neither data nor runs.",
        ),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train and evaluate models x seeds x data sets; the same call goes on after any interruption.

    Writes one row per run, split and protocol to rows.csv, and tables with intervals. Runs that have rows are skipped.
    """
    continues = "stopped; the same call continues"
    with error_messages(debug, as_json, stopped=continues):
        with importing():
            from heterrec_model.studies.reporting.report import write_report
            from heterrec_model.studies.run import run_study
            from heterrec_model.studies.study_file import load_study

        loaded = load_study(file).with_paths(data)
        if report_only:
            body = write_report(loaded, results).to_json()
            if as_json:
                print_json(body)
            elif not quiet:
                show_summary(Console(markup=False), body)
            return
        if runs is None:
            raise CallError("--runs is required", todo="Name the folder of the run folders.")
        result = run_study(
            loaded,
            runs=runs,
            results=results,
            processes=processes,
            again=again,
            command=shown_command(sys.argv[1:]),
            quiet=quiet,
        )
        body = result.to_json()
        if result.stopped is None and result.has_rows:
            body |= write_report(loaded, results).to_json()
        if as_json:
            print_json(body)
        else:
            show_failures(body["runs"])
            if not quiet:
                show_summary(Console(markup=False), body)
        if result.stopped == "SIGINT" or result.failed:
            raise typer.Exit(1)


def shown_command(arguments: Sequence[str]) -> str:
    """The command line for the rows: of absolute paths, which name places on this machine, only the last part is kept."""
    words = (re.sub(r"(^|=)/(?:[^/]*/)*([^/]+)/*$", r"\1\2", word) for word in arguments)
    return shlex.join(["heterrec-model", *words])


def show_failures(runs: Sequence[dict[str, Any]]) -> None:
    """Print the failed runs of a study on standard error."""
    for run in runs:
        if run["state"] == "failed":
            seed = "" if run["seed"] is None else f", seed {run['seed']}"
            line = f"failed: {run['data']}, {run['model']}{seed}: {run['message']}"
            typer.echo(line, err=True)


def show_summary(console: Console, body: dict[str, Any]) -> None:
    """Print where the files of a study are."""
    if body.get("stopped"):
        line = f"{body['stopped']}: the runs are saved. The same call continues."
    elif "tables" not in body:
        line = "There are no rows yet."
    else:
        line = f"Tables: {body['tables']}"
        if body["figures"]:
            line += f"; figures: {Path(body['figures'][0]).parent}"
    console.print(line, highlight=False, soft_wrap=True)
