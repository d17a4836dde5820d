"""`--log-json`: one JSON object per line for a log collector; docs/operations.md lists the events and their keys."""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from heterrec_pipeline.telemetry.clock import utc_text
from heterrec_schemas.errors import without_wire

LAST = ("published", "submitted", "failed", "stopped")
"""The events that end a log; `submitted` only without waiting for the job."""


class JsonLog:
    """Writes events. Every line has `time`, `event`, `generation` and `runner`, the last two null until they are known."""

    def __init__(self, out: TextIO, drain: Callable[[], None] = lambda: None) -> None:
        """Write to an open text file; `drain` waits for the lines of `printed`, before the last event."""
        self._out, self._drain = out, drain
        self._always: dict[str, Any] = {"generation": None, "runner": None}
        self._lock = threading.RLock()

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one line, in ASCII: it is valid JSON whatever the encoding of the file."""
        if event in LAST:
            self._drain()
        with self._lock:
            self._always |= {k: v for k, v in fields.items() if k in self._always}
            line = {"time": utc_text(datetime.now(UTC)), "event": event} | self._always | fields
            self._out.write(json.dumps(line, default=str) + "\n")
            self._out.flush()

    def failed(self, fields: dict[str, Any]) -> None:
        """Log the fields of a failure as `failed`, or as `stopped` after Ctrl-C or SIGTERM."""
        stopped = fields["error"] == KeyboardInterrupt.__name__
        self("stopped" if stopped else "failed", **fields)

    def printed(self, line: str) -> None:
        """Log a line that something in this process or its children has printed."""
        self("log", level="warning", logger="stderr", message=line)

    def handle(self, *, debug: bool) -> None:
        """Log Python's warnings, log records and uncaught exceptions: of threads, destructors and the program."""
        logging.captureWarnings(True)
        logging.basicConfig(
            level=logging.INFO if debug else logging.WARNING, handlers=[JsonHandler(self)]
        )
        sys.excepthook = lambda kind, error, trace: self._uncaught("uncaught", error)
        threading.excepthook = lambda failed: self._uncaught(
            f"a thread failed: {failed.thread!r}", failed.exc_value
        )
        sys.unraisablehook = lambda failed: self._uncaught(
            f"{failed.err_msg or 'ignored'}: {failed.object!r}", failed.exc_value
        )

    def _uncaught(self, where: str, error: BaseException | None) -> None:
        """Log an uncaught exception."""
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self("log", level="error", logger="python", message=f"{where}: {error!r}", traceback=trace)


class JsonHandler(logging.Handler):
    """Writes Python's log records to a `JsonLog`."""

    def __init__(self, log: JsonLog) -> None:
        """Write to a log."""
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        more = {}
        if record.exc_info:
            trace = "".join(traceback.format_exception(*record.exc_info))
            more["traceback"] = without_wire(trace)
        self._log(
            "log",
            level=record.levelname.lower(),
            logger=record.name,
            message=without_wire(record.getMessage()),
            **more,
        )
