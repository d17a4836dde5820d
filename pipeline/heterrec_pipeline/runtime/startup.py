"""Start and exit of a command."""

import atexit
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from heterrec_pipeline.telemetry.captured_stderr import CapturedStderr
from heterrec_pipeline.telemetry.json_log import JsonLog
from heterrec_schemas.command_line import FailureReport, asked, importing, run

EXIT_SECONDS = 5.0
"""Maximum time, in seconds, that remaining threads may delay the exit of a finished command."""
LOG_JSON = "--log-json"
"""The option that turns standard error into a log."""


def run_process(load: Callable[[], Callable[..., Any]]) -> NoReturn:
    """Run a Typer app as this process, and exit.

    Args:
        load: imports and returns the app. The context of its commands has the `JsonLog` of `--log-json` as `obj`.
    """
    codes: list[int] = []
    # Registered first, it runs last, after the other functions for the exit.
    atexit.register(_leave, codes)
    debug, as_json = asked("--debug"), asked("--json")
    if asked(LOG_JSON):
        code = _run_logged(load, debug=debug, as_json=as_json)
    else:
        logging.basicConfig(
            level=logging.INFO if debug else logging.CRITICAL,
            format="%(levelname)s %(name)s: %(message)s",
        )
        code = run(load, FailureReport(as_json))
    codes.append(code)
    exit_soon(code)
    sys.exit(code)


def _leave(codes: list[int]) -> None:
    """End the process before Python finalizes: a reading thread of Arrow that calls Python then would abort it."""
    if codes:
        _flush()
        os._exit(codes[0])


def _run_logged(load: Callable[[], Callable[..., Any]], *, debug: bool, as_json: bool) -> int:
    """Run an app whose standard error is a log."""
    captured = CapturedStderr()
    log = JsonLog(captured.out, captured.drain)
    captured.start(log.printed)
    log.handle(debug=debug)
    try:
        return run(load, FailureReport(as_json, log), obj=log)
    finally:
        captured.close()


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without garbage collection, and exclude the imported objects from later collections; a signal ends the process.

    Beam creates very many objects, almost none of them garbage: scanning them again and again takes a third of its import
    time.
    """
    gc.disable()
    try:
        with importing():
            yield
    finally:
        gc.freeze()
        gc.enable()


def exit_soon(code: int) -> None:
    """Exit with a code after at most `EXIT_SECONDS`, even if threads are still running.

    An engine that is stopped at a bad moment can leave threads that wait for each other, and Python would wait for them.
    """
    _flush()
    timer = threading.Timer(EXIT_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has closed the stream
            stream.flush()
