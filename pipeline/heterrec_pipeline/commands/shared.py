"""Options and error handling shared by all commands."""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from heterrec_schemas.errors import HeterrecError, SpecError
from heterrec_schemas.feature_spec import read_spec_text

if TYPE_CHECKING:
    from heterrec_pipeline.telemetry.json_log import JsonLog

app = typer.Typer(
    name="heterrec-pipeline",
    help="Turn a catalogue, its embeddings and an interaction log into token tables for HeterRec.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
SpecOption = Annotated[str, typer.Option("--spec", help="The feature spec (YAML).")]
InputOption = Annotated[
    str,
    typer.Option(
        "--input", help="The folder that the spec's paths start from (local, gs://, s3://)."
    ),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks and the engine's own log.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress and no tables.")]
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
    typer.Option("--time-limit", help="Seconds after which the run ends as by Ctrl-C.", min=0.001),
]
BEAM = {"allow_extra_args": True}
BEAM_FLAGS = "Flags after -- go to Apache Beam unchanged."


def _stop(signum: int, frame: object) -> NoReturn:
    """Handle SIGTERM and the time limit like Ctrl-C, so that an unfinished generation is cleaned up."""
    raise KeyboardInterrupt


@contextmanager
def guarded(
    debug: bool, log: "JsonLog | None" = None, time_limit: float | None = None
) -> Iterator[None]:
    """Turn errors into one message and an exit code, with a traceback under `debug`; a log replaces standard error."""
    started = time.monotonic()
    logging.basicConfig(
        level=logging.INFO if debug else logging.CRITICAL,
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[log.handler()] if log else None,
    )
    signal.signal(signal.SIGTERM, _stop)
    if time_limit is not None:
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, time_limit)
    try:
        yield
    except HeterrecError as error:
        _fail(error.message, error.exit_code, debug, log)
    except KeyboardInterrupt:
        late = time_limit is not None and time.monotonic() - started >= time_limit
        why = f"stopped: the time limit of {time_limit:g} s has passed" if late else "stopped"
        _fail(f"{why}; nothing was published", 1, False, log)
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except BaseException as error:  # also a panic of a library's Rust code
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        message = " ".join(str(error).split())
        todo = "Run again with --debug for the traceback, and report it."
        _fail(f"an unexpected {type(error).__name__}: {message}. {todo}", 1, debug, log)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fail(message: str, code: int, debug: bool, log: "JsonLog | None") -> NoReturn:
    if log:
        log.failed(message, code, with_traceback=debug)
        raise typer.Exit(code)
    if debug:
        import traceback

        traceback.print_exc()
    Console(stderr=True, markup=False).print(
        f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(code)


def json_log() -> "JsonLog":
    """The log of `--log-json`, on standard error."""
    from heterrec_pipeline.telemetry.json_log import JsonLog

    return JsonLog(sys.stderr)


def print_warning(console: Console, warning: str) -> None:
    """Print a warning about a spec."""
    console.print(
        f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True
    )


def spec_text(path: str) -> str:
    """The text of a spec: a local file, or an object of a store."""
    if "://" not in path:
        return read_spec_text(path)
    from heterrec_pipeline.files import storage

    if not storage.exists(path):
        raise SpecError(f"there is no spec {path}", todo="Check --spec.")
    try:
        return storage.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec {path} is not UTF-8 text: {error}") from None
