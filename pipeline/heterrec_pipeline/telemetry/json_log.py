"""`--log-json`: one JSON object per line for a log collector; docs/operations.md lists the events and their keys."""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from heterrec_pipeline.telemetry.stages import utc_text
from heterrec_pipeline.worker_errors import stage_of


class JsonLog:
    """Writes events. Every line has `time`, `event`, `generation` and `runner`, the last two null until they are known."""

    def __init__(self, out: TextIO) -> None:
        """Write to an open text file."""
        self._out = out
        self._always: dict[str, Any] = {"generation": None, "runner": None}
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one line."""
        with self._lock:
            self._always |= {k: v for k, v in fields.items() if k in self._always}
            line = {"time": utc_text(datetime.now(UTC)), "event": event} | self._always | fields
            self._out.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._out.flush()

    def failed(self, message: str, exit_code: int, *, with_traceback: bool = False) -> None:
        """Log the exception being handled as `failed`, or as `stopped` after Ctrl-C or SIGTERM."""
        error = sys.exception()
        more = {"traceback": traceback.format_exc()} if with_traceback else {}
        self(
            "stopped" if isinstance(error, KeyboardInterrupt) else "failed",
            error=type(error).__name__,
            stage=None if error is None else stage_of(error),
            message=message,
            exit_code=exit_code,
            **more,
        )

    def handler(self) -> logging.Handler:
        """A handler that writes Python's log records, and its warnings, as `log` events."""
        logging.captureWarnings(True)
        return JsonHandler(self)


class JsonHandler(logging.Handler):
    """Writes Python's log records to a `JsonLog`; few are logged without `--debug`."""

    def __init__(self, log: JsonLog) -> None:
        """Write to a log."""
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        more = {}
        if record.exc_info:
            more["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        self._log(
            "log",
            level=record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
            **more,
        )
