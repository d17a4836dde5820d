"""What the commands share: the application, options, messages of errors.

Exit codes: 0 success (also for a run that SIGTERM stopped: it is saved), 1 failure of the run, 2 error in the call, the
configuration or the data.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.progress_display import ProgressDisplay
from heterrec_schemas.command_line import (
    EXIT_CODES,
    HELP_FLAGS,
    YELLOW,
    FailureReport,
    interruptible,
    print_line,
    print_version,
    reserve_stdout,
    unexpected,
)
from heterrec_schemas.errors import HeterrecError

app = typer.Typer(
    name="heterrec-model",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": list(HELP_FLAGS)},
    epilog=EXIT_CODES,
)

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""Words in the errors of libraries."""
DATA_HELP = "A generation, or an output folder (its latest generation); local, gs:// or s3://."
DataOption = Annotated[str, typer.Option("--data", help=DATA_HELP)]
RunOption = Annotated[str, typer.Option("--run", help="Folder of the run, on this machine.")]
CheckpointOption = Annotated[str, typer.Option("--checkpoint", help="best, last or step-N.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")]


def _show_version(asked: bool) -> None:
    if asked:
        print_version("heterrec-model")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Train HeterRec from a generation, evaluate it over the catalogue, export it, and recommend items."""


@contextmanager
def error_messages(
    debug: bool, as_json: bool = False, *, stopped: str = "stopped"
) -> Iterator[None]:
    """Convert errors to a report and an exit code, with a traceback only with --debug.

    `stopped` is the message after Ctrl-C. With --json, nothing but one JSON object is printed to standard output: the result,
    or the failure.
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
        report(stop, stopped, 1)
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except (SystemExit, GeneratorExit, typer.Exit):
        raise
    except BaseException as error:  # some libraries raise errors that are no `Exception`
        report(error, _too_large(error) or unexpected(error), 1, debug=debug)
        raise typer.Exit(1) from None


def progress(quiet: bool) -> ProgressDisplay:
    """The display of a command's progress, on standard error unless it is quiet."""
    return ProgressDisplay(None if quiet else Console(stderr=True, markup=False))


def _too_large(error: BaseException) -> str | None:
    """The message for an exception that says that memory is short; None for others."""
    words = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and not any(w in words for w in OUT_OF_MEMORY):
        return None
    todo = "Use smaller sizes, for example of data.batch_items or evaluation.batch_users."
    return f"there is too little memory: {words.rstrip('.')}. {todo}"


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object
) -> None:
    """Print warnings of this package in one line, and ignore those of libraries."""
    if category is UserWarning and "heterrec_model" in filename:
        print_line(f"warning: {message}", YELLOW)
