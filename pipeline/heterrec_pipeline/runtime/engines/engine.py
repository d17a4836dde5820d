"""One run on an engine: started, waited for, and ended with nothing left behind."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import apache_beam as beam
import grpc
from apache_beam.runners.worker import sdk_worker

from heterrec_pipeline.worker_errors import found_in
from heterrec_schemas.errors import HeterrecError

LOG = logging.getLogger(__name__)
SETTLE_SECONDS = 30.0
"""How long the end of a failed run waits for bundles that still run on threads of this process."""
BURY_SECONDS = 5.0
"""How long a process may take to be gone after its connections are."""
_BUNDLES = "bundle_processor.py"


class Engine:
    """An engine that Beam starts and ends by itself; others build upon it. To be used as a context.

    Leaving the context ends what the engine has started. Where a run has failed because a process died, it raises
    an error that names the process instead of the engine's own exception.
    """

    apart = False
    """Whether steps run in processes that do not share this one's working folder."""

    def __enter__(self) -> Self:
        """Start what is needed.

        Raises:
            HeterrecError: it cannot be started.
        """
        self.start()
        self._quiet()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the engine; a failure gets the cause that the engine itself does not tell."""
        cause: HeterrecError | None = None
        try:
            if isinstance(error, Exception) and found_in(error) is None:
                cause = self.cause(error)
        finally:
            self.stop()
            if error is not None:
                _settle()
            self._loud()
        if cause is not None:
            raise cause from error

    def _quiet(self) -> None:
        """Keep tracebacks off the terminal: a failed run says why by its exception, and --debug shows the rest."""
        self._excepthook = threading.excepthook
        threading.excepthook = _log_failed_thread
        sdk_worker.print = _log_printed

    def _loud(self) -> None:
        threading.excepthook = self._excepthook
        del sdk_worker.print

    def start(self) -> None:
        """Start what the engine needs beside Beam: nothing here."""

    def stop(self) -> None:
        """End what was started."""

    def cause(self, error: Exception) -> HeterrecError | None:
        """The death of a process behind an engine's exception, if that is what it was."""
        return None

    def submitted(self) -> None:
        """The engine has taken the job."""

    def path(self, path: str) -> str:
        """A path of this process as its workers see it."""
        return os.path.abspath(path) if self.apart and "://" not in path else path

    def run(self, pipeline: beam.Pipeline) -> Any:
        """Run a graph to its end; Beam's result.

        Raises:
            KeyboardInterrupt: stopped; the job was cancelled where the engine can do that.
        """
        result = pipeline.run()
        self.submitted()
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            with contextlib.suppress(Exception):
                result.cancel()
            raise
        return result


def gone_with(error: Exception, gone: Callable[[], bool]) -> bool:
    """Whether the other end of a broken connection has died: its connections end a little before itself."""
    until = time.monotonic() + (BURY_SECONDS if isinstance(error, grpc.RpcError) else 0)
    while not gone():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _log_failed_thread(thrown: threading.ExceptHookArgs) -> None:
    LOG.info("a thread has failed: %r", thrown.thread, exc_info=thrown.exc_value)


def _log_printed(*words: object, **_how: object) -> None:
    """Beam's worker prints what has failed, beside raising it."""
    LOG.info("%s", " ".join(map(str, words)))


def _settle() -> None:
    """Wait until no thread of this process is inside a bundle: it could write files that are about to be swept."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until and _in_a_bundle():
        time.sleep(0.1)


def _in_a_bundle() -> bool:
    for frame in sys._current_frames().values():
        deeper: Any = frame
        while deeper is not None:
            if deeper.f_code.co_filename.endswith(_BUNDLES):
                return True
            deeper = deeper.f_back
    return False
