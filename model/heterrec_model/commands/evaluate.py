"""The commands `evaluate` and `compare`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    CheckpointOption,
    DataOption,
    DebugOption,
    JsonOption,
    QuietOption,
    RunOption,
    app,
    error_messages,
    progress,
)
from heterrec_schemas.command_line import YELLOW, importing, print_json, print_line

SplitOption = Annotated[str, typer.Option("--split", help="validation or test.")]
FilterOption = Annotated[
    bool | None,
    typer.Option(
        "--filter-seen/--no-filter-seen",
        help="Leave items of the history out of the ranking, unless they are targets; default: the run's config.",
    ),
]
CandidatesOption = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        metavar="known|all",
        help="Items that are ranked. known: with a temporal split, those known at its cut; all: the whole catalogue, items "
        "of the future included. Default: the run's config.",
    ),
]


@app.command()
def evaluate(
    data: DataOption,
    run: RunOption,
    split: SplitOption = "test",
    checkpoint: CheckpointOption = "best",
    filter_seen: FilterOption = None,
    candidates: CandidatesOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Rank the catalogue for every user of a split, and compute the metrics of the targets."""
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.evaluation.evaluate import evaluate as run_evaluate
            from heterrec_model.evaluation.evaluation_display import show_evaluations

        with progress(quiet) as display:
            result = run_evaluate(
                run,
                data,
                split,
                checkpoint=checkpoint,
                filter_seen=filter_seen,
                candidates=candidates,
                on_progress=lambda users: display.show(f"{users:,} users ranked"),
            )
        if result["users"] == 0:
            why = "no user has a target in it, so there are no metrics"
            print_line(f"warning: the split {split} is empty: {why}", YELLOW)
        if as_json:
            print_json(result)
        elif not quiet:
            console = Console(markup=False)
            show_evaluations(console, [e for e in (result, result["unseen_first"]) if e])
            line = f"{run}, {result['checkpoint']}; generation {result['generation']}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    data: DataOption,
    run: Annotated[
        str,
        typer.Option("--run", help="Folder of the run, or of several seeds separated by commas."),
    ],
    against: Annotated[
        list[str],
        typer.Option(
            "--against",
            metavar="RUN|BASELINE",
            help="Another run, several seeds separated by commas, or a counting baseline such as popular or "
            "my_package:MyBaseline; may be repeated.",
        ),
    ],
    split: SplitOption = "test",
    filter_seen: FilterOption = None,
    candidates: CandidatesOption = None,
    resamples: Annotated[
        int, typer.Option(help="Number of resamples of the bootstrap.", min=1, max=1_000_000)
    ] = 10_000,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a run with others on the same users: metrics, and a paired bootstrap of the differences."""
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.evaluation.compare import compare_models
            from heterrec_model.evaluation.evaluation_display import show_report

        with progress(quiet) as display:
            report = compare_models(
                run,
                data,
                against,
                split,
                filter_seen=filter_seen,
                candidates=candidates,
                resamples=resamples,
                on_model=lambda name: display.show(f"evaluating {name}"),
            )
        if as_json:
            print_json(report.to_json())
        elif not quiet:
            show_report(Console(markup=False), report)
