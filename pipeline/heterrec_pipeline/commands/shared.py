"""Options and error handling shared by all commands."""

import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from heterrec_pipeline.worker_errors import stage_of
from heterrec_schemas.command_line import (
    EXIT_CODES,
    HELP_FLAGS,
    FailureReport,
    interruptible,
    print_version,
    reserve_stdout,
    unexpected,
)
from heterrec_schemas.errors import CallError, HeterrecError

if TYPE_CHECKING:
    from heterrec_pipeline.telemetry.json_log import JsonLog

app = typer.Typer(
    name="heterrec-pipeline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": list(HELP_FLAGS)},
    epilog=EXIT_CODES,
)


def plain_path(path: str | None) -> str | None:
    """The path of an option without the scheme file://."""
    if path is None or not path.startswith("file://"):
        return path
    from heterrec_pipeline.files import storage

    return storage.plain_path(path)


SpecOption = Annotated[
    str, typer.Option("--spec", help="The feature spec (YAML).", callback=plain_path)
]
InputOption = Annotated[
    str,
    typer.Option(
        "--input",
        help="The folder that the spec's paths start from (local, gs://, s3://).",
        callback=plain_path,
    ),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        help="name=value: replaces {name} in the where and path of the spec's sources. Once for each.",
    ),
]
OutputArgument = Annotated[
    str, typer.Argument(help="The folder of generations/ and latest.json (local, gs://, s3://).")
]
GenerationOption = Annotated[str, typer.Option("--generation", help="The id of a generation.")]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks and the engine's own log.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
RunnerOption = Annotated[
    str | None,
    typer.Option(
        "--runner", help="The engine: local (default), prism, portable, dataflow, or Beam's name."
    ),
]
OpenPortsOption = Annotated[
    bool,
    typer.Option(
        "--allow-open-ports",
        help="Accept an engine whose ports other machines can connect to (see docs/engines.md).",
    ),
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option("--time-limit", help="Seconds after which the run ends as by Ctrl-C."),
]
ParentOption = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Check a refresh of this generation (its folder, or the output folder whose latest.json names it), and "
        "count its known, new and retired values, and the files that it has not read.",
    ),
]
RefitOption = Annotated[
    str,
    typer.Option(
        "--refit", help="Features whose boundaries or quantizers are fitted anew: a,user_b."
    ),
]
SweepAfterOption = Annotated[
    str,
    typer.Option(
        "--sweep-after",
        help="Time without a heartbeat after which builders and readers on other machines count as dead (1h, 90m, 2d).",
    ),
]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""Seconds of the units of a duration."""
MIN_SECONDS, MAX_SECONDS = 0.001, 1e8
"""Range of `--time-limit` in seconds, up to three years."""
BEAM = {"allow_extra_args": True}
BEAM_FLAGS = "Flags after -- go to Apache Beam unchanged. Exit codes: heterrec-pipeline --help."


def _show_version(asked: bool) -> None:
    if asked:
        print_version("heterrec-pipeline")
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
    """Turn a catalogue, its embeddings and an interaction log into token tables for HeterRec."""


def _time_is_over(signum: int, frame: object) -> NoReturn:
    """Handle the time limit like Ctrl-C, so that an unfinished generation is cleaned up."""
    raise KeyboardInterrupt


@contextmanager
def guarded(
    debug: bool,
    log: "JsonLog | None" = None,
    time_limit: float | None = None,
    *,
    as_json: bool = False,
) -> Iterator[dict[str, Any]]:
    """Turn errors into one report and an exit code, with a traceback under `debug`.

    Args:
        debug: report tracebacks.
        log: replaces standard error.
        time_limit: seconds after which the block is interrupted.
        as_json: nothing but one JSON object is printed to standard output: the block's result, or the failure.

    Yields:
        Further fields for the object that `--json` prints after a failure, empty at first.
    """
    started = time.monotonic()
    found: dict[str, Any] = {}
    report = FailureReport(as_json, log, found=found)
    if as_json:
        reserve_stdout()
    try:
        with interruptible(), _time_limit(time_limit):
            yield found
    except HeterrecError as error:
        report(error, error.message, error.exit_code, stage=stage_of(error), debug=debug)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as stop:
        late = time_limit is not None and time.monotonic() - started >= time_limit
        why = f"stopped: the time limit of {time_limit:g} s has passed" if late else "stopped"
        report(stop, f"{why}; nothing was published", 1, stage=stage_of(stop))
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except (SystemExit, GeneratorExit, typer.Exit):
        raise
    except BaseException as error:  # some libraries raise errors that are no `Exception`
        report(error, unexpected(error), 1, stage=stage_of(error), debug=debug)
        raise typer.Exit(1) from None


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the block after some seconds.

    Raises:
        CallError: not a time that can be measured.
    """
    if seconds is None:
        yield
        return
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:  # NaN neither
        raise CallError(
            "--time-limit",
            got=f"{seconds:g}",
            expected=f"seconds from {MIN_SECONDS:g} to {MAX_SECONDS:,.0f}",
            todo="Leave it out for no limit.",
        )
    signal.signal(signal.SIGALRM, _time_is_over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def parse_duration(option: str, text: str) -> timedelta:
    """A duration such as 90s, 30m, 24h or 7d.

    Raises:
        CallError: it is none, or longer than three years.
    """
    found = re.fullmatch(r"([0-9]{1,9}) *([smhd]?)", text.strip())
    seconds = int(found[1]) * _UNITS[found[2] or "s"] if found else -1
    if not found or seconds > MAX_SECONDS or not (found[2] or seconds == 0):
        raise CallError(
            option, got=repr(text), expected="a number with a unit, such as 90s, 30m, 24h or 7d"
        )
    return timedelta(seconds=seconds)


def print_columns(console: Console, columns: Mapping[str, str], rows: list[list[str]]) -> None:
    """Print rows in aligned columns, each in one line, however long.

    Args:
        console: where to.
        columns: title to alignment, `<` or `>`.
        rows: the cells.
    """
    lines = [list(columns), *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, columns.values(), widths, strict=True)
        text = "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells)
        console.print(text.rstrip(), highlight=False, soft_wrap=True)


def names_in(names: str) -> tuple[str, ...]:
    """The names of an option that takes several, separated by commas."""
    return tuple(filter(None, (name.strip() for name in names.split(","))))


def print_warning(console: Console, warning: str) -> None:
    """Print a warning about a spec."""
    console.print(
        f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True
    )


def parameters_in(options: Sequence[str] | None) -> dict[str, str]:
    """The values of `--param name=value`.

    Raises:
        CallError: it has another form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for option in options or ():
        name, sign, value = option.partition("=")
        if not sign or not name or name in found:
            got = f"{name} twice" if name in found else repr(option)
            raise CallError("--param", got=got, expected="name=value, once for each name")
        found[name] = value
    return found
