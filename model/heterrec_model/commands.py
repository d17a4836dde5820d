"""The commands of `heterrec-model`, train | evaluate | compare | recommend: each parses its arguments and calls the package.

Exit codes: 0 success (also for a run that SIGTERM stopped: it is saved), 1 failure of the run, 2 error in the call, the
configuration or the data.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from heterrec_model import commands_serve
from heterrec_schemas.command_line import (
    YELLOW,
    FailureReport,
    importing,
    interruptible,
    print_json,
    print_line,
    reserve_stdout,
    text_argument,
    unexpected,
)
from heterrec_schemas.errors import CallError, HeterrecError

if TYPE_CHECKING:
    from heterrec_model.training.training_display import ProgressDisplay

app = typer.Typer(
    name="heterrec-model",
    help="Train HeterRec from a generation, evaluate it over the catalogue, compute recommendations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""Words in the errors of libraries."""
DATA_HELP = "A generation, or an output folder (its latest generation); local, gs:// or s3://."
DataOption = Annotated[str, typer.Option("--data", help=DATA_HELP)]
RunOption = Annotated[str, typer.Option("--run", help="Folder of the run, on this machine.")]
CheckpointOption = Annotated[str, typer.Option("--checkpoint", help="best, last or step-N.")]
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
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")]


@contextmanager
def _error_messages(debug: bool, as_json: bool = False) -> Iterator[None]:
    """Convert errors to a report and an exit code, with a traceback only with --debug.

    With --json, nothing but one JSON object is printed to standard output: the result, or the failure.
    """
    logging.basicConfig(
        level=logging.INFO if debug else logging.CRITICAL,
        format="%(levelname)s %(name)s: %(message)s",
    )
    rank = os.environ.get("RANK") if os.environ.get("WORLD_SIZE", "1") != "1" else None
    prefix = "error" if rank is None else f"error (rank {rank})"
    report = FailureReport(as_json and rank in (None, "0"), prefix=prefix)
    if as_json:
        reserve_stdout()
    try:
        with interruptible(), warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _show_warning
            yield
    except HeterrecError as error:
        report(error, error.message, error.exit_code, debug=debug)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as stop:
        report(stop, "stopped; train --resume continues from the last checkpoint", 1)
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except (SystemExit, GeneratorExit, typer.Exit):
        raise
    except BaseException as error:  # some libraries raise errors that are no `Exception`
        report(error, _too_large(error) or unexpected(error), 1, debug=debug)
        raise typer.Exit(1) from None


def _progress(quiet: bool) -> "ProgressDisplay":
    """The display of a command's progress, on standard error unless it is quiet."""
    from heterrec_model.training.training_display import ProgressDisplay

    return ProgressDisplay(None if quiet else Console(stderr=True, markup=False))


def _too_large(error: BaseException) -> str | None:
    """The message for an exception that says that memory is short; None for others."""
    words = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not any(w in words for w in _OUT_OF_MEMORY):
        return None
    todo = "Use smaller sizes, for example of data.batch_items or evaluation.batch_users."
    return f"there is too little memory: {words.rstrip('.')}. {todo}"


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object
) -> None:
    """Print warnings of this package in one line, and ignore those of libraries."""
    if category is UserWarning and "heterrec_model" in filename:
        print_line(f"warning: {message}", YELLOW)


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model into a run folder; SIGTERM and Ctrl-C save it before they stop it. torchrun starts several processes."""
    with _error_messages(debug, as_json):
        with importing():
            from heterrec_model.config import load_config
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
        result = run_train(
            load_config(config, settings),
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
    with _error_messages(debug, as_json):
        with importing():
            from heterrec_model.evaluation.evaluate import evaluate as run_evaluate
            from heterrec_model.evaluation.evaluation_display import show_evaluations

        with _progress(quiet) as display:
            result = run_evaluate(
                data,
                run,
                split,
                checkpoint=checkpoint,
                filter_seen=filter_seen,
                candidates=candidates,
                on_progress=lambda users: display.show(f"{users:,} users ranked"),
            )
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
            help="Another run, several seeds separated by commas, or a counting baseline such as popular; may be repeated.",
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
    with _error_messages(debug, as_json):
        with importing():
            from heterrec_model.evaluation.compare import compare_models
            from heterrec_model.evaluation.evaluation_display import show_report

        with _progress(quiet) as display:
            report = compare_models(
                data,
                run,
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


@app.command()
def recommend(
    data: DataOption,
    run: RunOption,
    user: Annotated[str | None, typer.Option("--user", help="Id of a user.")] = None,
    items: Annotated[
        list[str] | None,
        typer.Option(
            "--items",
            metavar="I1,I2",
            help="Ids of items instead of a user, oldest first; repeat the option for ids that contain commas.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of items.", min=1, max=2**20)] = 10,
    checkpoint: CheckpointOption = "best",
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen/--no-filter-seen", help="Leave out items of the history.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend items to a user, or after a list of items, with features in words."""
    with _error_messages(debug, as_json):
        with importing():
            from heterrec_model.serving.recommend import recommend as run_recommend
            from heterrec_model.serving.recommendation_display import show_recommendation

        recommendation = run_recommend(
            data,
            run,
            user=None if user is None else text_argument(user),
            items=_item_ids(items),
            k=k,
            checkpoint=checkpoint,
            filter_seen=filter_seen,
        )
        if as_json:
            print_json(recommendation.to_json())
        else:
            show_recommendation(Console(markup=False), recommendation)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command of another module, with its errors converted."""

    @wraps(command)
    def run(**options: Any) -> None:
        with _error_messages(options["debug"], options["as_json"]):
            command(**options)

    return run


app.command()(_guarded(commands_serve.serve))
app.command()(_guarded(commands_serve.promote))


def _item_ids(values: list[str] | None) -> list[str] | None:
    """The ids of `--items`: a single option contains ids separated by commas, several options one id each."""
    if not values:
        return None
    values = [text_argument(value) for value in values]
    if len(values) > 1:
        return values
    return [name.strip() for name in values[0].split(",") if name.strip()]
