"""Shared by the command lines of pipeline and model: signals, output on any terminal, and the report of a failure.

Imports the standard library only: a command calls `run` before it imports anything else.
"""

import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from types import FrameType
from typing import Any, Protocol, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that stop a command."""
STOPPED = "stopped; nothing was changed"
"""Message of a command that is stopped while it imports its modules."""
UNEXPECTED = "Run again with --debug for the traceback, and report it."
_OF_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors of a file system, which any statement may meet."""
RED, YELLOW = 31, 33
HELP_FLAGS = ("-h", "--help")
EXIT_CODES = """\b
Exit codes:
  0  success
  1  the run failed. Worth a retry: a store that does not answer, a full disk,
     a dead worker, a signal. Not worth one: NotPublishedError (drift, or
     latest.json names another generation), a time limit, too little memory,
     "an unexpected ..." error.
  2  an error in the call, the spec, the configuration or the data: a retry
     fails in the same way.
With --json, the field "error" of the printed object names the error."""
"""Last paragraph of the help of both command lines; `\\b` keeps its lines."""
ESCAPED = "backslashreplace"
_only_json: TextIO | None = None
"""Standard output, after `reserve_stdout`."""
_exits: dict[int, Any] = {}
"""The handlers of `exit_on_signals`, by signal."""


class FailureLog(Protocol):
    """A log that replaces messages on standard error."""

    def failed(self, fields: dict[str, Any]) -> None:
        """Log the fields of `failure_fields`."""


def asked(flag: str) -> bool:
    """Whether this process's arguments contain a flag before `--`."""
    return flag in sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]


def failure_fields(
    error: BaseException | None,
    message: str,
    exit_code: int,
    *,
    stage: str | None = None,
    debug: bool = False,
) -> dict[str, Any]:
    """The fields of a failure: of the object that `--json` prints, and of the last event of `--log-json`.

    Returns:
        error: the class of the exception, KeyboardInterrupt if the command was stopped. stage: the stage of a build that
        failed, or None. message: the whole message. exit_code: 1 or 2. With `debug` also traceback.
    """
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "stage": stage,
        "message": message,
        "exit_code": exit_code,
    }
    if debug and error is not None:
        fields["traceback"] = "".join(traceback.format_exception(error))
    return fields


def unexpected(error: BaseException) -> str:
    """The message for an exception that is not an error of the project: of the file system, or of our code."""
    if isinstance(error, OSError) and error.errno in _OF_STORAGE:
        where = "a file" if error.filename is None else error.filename
        return f"{where} cannot be read or written: {error.strerror}. Fix it, then run the same command again."
    return f"an unexpected {type(error).__name__}: {' '.join(str(error).split())}. {UNEXPECTED}"


@dataclass(frozen=True)
class FailureReport:
    """Reports a failure: as a message on standard error or in a log, and with `as_json` as an object on standard output.

    Attributes:
        as_json: whether the command prints JSON.
        log: replaces standard error.
        prefix: begins the message on standard error.
        found: further fields of that object.
    """

    as_json: bool = False
    log: FailureLog | None = None
    prefix: str = "error"
    found: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        error: BaseException | None,
        message: str,
        exit_code: int,
        *,
        stage: str | None = None,
        debug: bool = False,
    ) -> None:
        """Report a failure; see `failure_fields`."""
        fields = failure_fields(error, message, exit_code, stage=stage, debug=debug)
        if self.log is not None:
            self.log.failed(fields)
        else:
            print_line(f"{fields.get('traceback', '')}{self.prefix}: {message}", RED)
        if self.as_json:
            with suppress(OSError):  # the reader has gone
                print_json(self.found | fields)


def print_line(line: str, colour: int) -> None:
    """Print a line to standard error, if it can be written; in an ANSI colour on a terminal."""
    if sys.stderr is None:  # closed by the caller
        return
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        line = f"\x1b[{colour}m{line}\x1b[0m"
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def print_version(program: str) -> None:
    """Print the name and the version of a program."""
    from importlib import metadata  # takes longer than the rest of this module

    try:
        version = metadata.version("heterrec")
    except metadata.PackageNotFoundError:
        version = "(not installed: it runs from a checkout)"
    print(program, version)


def print_json(body: object) -> None:
    """Print an object in one line of ASCII, which is valid JSON whatever the encoding of standard output."""
    out = _only_json or sys.stdout
    out.write(json.dumps(body, default=str) + "\n")
    out.flush()


def reserve_stdout() -> None:
    """Let nothing but `print_json` write to this process's standard output; the rest goes to standard error."""
    global _only_json
    if _only_json is not None or sys.stdout is not sys.__stdout__ or sys.stdout is None:
        return  # as in a test, which replaces the stream
    sys.stdout.flush()
    _only_json = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    sys.stdout = sys.stderr


def escape_output() -> None:
    """Escape characters that the encoding of standard output or standard error lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors != ESCAPED:
            stream.reconfigure(errors=ESCAPED)


def text_argument(text: str) -> str:
    """An id of the command line as text: under an ASCII locale, Python decodes its bytes to surrogates."""
    return os.fsencode(text).decode("utf-8", "replace") if not text.isascii() else text


def exit_on_signals(report: FailureReport) -> None:
    """End the process at once on a signal, with a message: while modules are imported, there is nothing to clean up.

    An exception would not do: many libraries catch whatever happens while they are imported.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        report(KeyboardInterrupt(), STOPPED, 1)
        os._exit(1)

    _exits.update(dict.fromkeys(_heard(), stop))
    _set_handlers(_exits)


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in a command: a signal ends its process at once, as before the command began."""
    with _handlers(_exits):
        yield


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM while the block runs, so that it can clean up.

    Afterwards the process of a command ignores both, since it has finished.
    """
    try:
        with _handlers(dict.fromkeys(_heard(), _interrupt)):
            yield
    finally:
        if _exits:
            _set_handlers(dict.fromkeys(_exits, signal.SIG_IGN))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM while the block, which cleans up, runs."""
    with _handlers(dict.fromkeys(SIGNALS, signal.SIG_IGN)):
        yield


def _heard() -> list[int]:
    """The signals that the process does not ignore, as a shell lets its background jobs do."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handlers(handlers: Mapping[int, Any]) -> Iterator[None]:
    previous = _set_handlers(handlers)
    try:
        yield
    finally:
        _set_handlers(previous)


def _set_handlers(handlers: Mapping[int, Any]) -> dict[int, Any]:
    """Set handlers and return the previous ones; none outside of the main thread, where Python refuses."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}


def run(load: Callable[[], Callable[..., Any]], report: FailureReport, obj: object = None) -> int:
    """Run a Typer app as the only command of this process.

    Args:
        load: imports and returns the app.
        report: reports failures outside of the commands, such as a misspelt option.
        obj: the object of the commands' context.

    Returns:
        The exit code.
    """
    exit_on_signals(report)
    escape_output()
    try:
        code = load()(standalone_mode=False, obj=obj)
        return code if isinstance(code, int) else 0
    except SystemExit as end:  # the reader of a help text has gone
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "show"):  # of the command line
            return _usage_error(error, report)
        report(error, unexpected(error), 1, debug=asked("--debug"))
        return 1


def _usage_error(error: Any, report: FailureReport) -> int:
    if report.log is None:
        error.show()
    code = int(error.exit_code)
    if report.log is not None or report.as_json:
        fields = failure_fields(error, error.format_message(), code) | {"error": "CallError"}
        if report.log is not None:
            report.log.failed(fields)
        if report.as_json:
            print_json(fields)
    return code
