"""Base class of the engines: starts an engine, waits for a run, and cleans up after it."""

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

from heterrec_pipeline.runtime.loopback import bind_to_loopback
from heterrec_pipeline.runtime.notebooks import as_in_a_script
from heterrec_pipeline.worker_errors import found_in
from heterrec_schemas.errors import HeterrecError

LOG = logging.getLogger(__name__)
BUNDLE_SECONDS = 30.0
"""Maximum time in seconds to wait, after a failed run, for bundles that still run on threads of this process."""
EXIT_SECONDS = 5.0
"""Maximum time in seconds between the loss of a process's connections and its exit."""
_BUNDLES = "bundle_processor.py"


class Engine:
    """An engine that Beam starts and stops by itself, and the base class of the others; a context manager.

    Leaving the context stops every process that the engine started. If a run failed because a process died, an error that
    names the process replaces the engine's exception.
    """

    remote_workers = False
    """Whether steps run in processes with other working folders."""

    def __enter__(self) -> Self:
        """Start the engine.

        Raises:
            HeterrecError: it cannot be started.
        """
        bind_to_loopback()
        self.start()
        self._mute()
        self._script = as_in_a_script()
        self._script.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the engine; if a process died, raise an error that names it."""
        cause: HeterrecError | None = None
        try:
            if isinstance(error, Exception) and found_in(error) is None:
                cause = self.cause(error)
        finally:
            self.stop()
            if error is not None:
                _wait_for_bundles()
            self._unmute()
            self._script.__exit__(None, None, None)
        if cause is not None:
            raise cause from error

    def _mute(self) -> None:
        """Log tracebacks of threads and workers: the exception of a failed run is enough, and --debug shows the log."""
        self._excepthook = threading.excepthook
        self._earlier = set(threading.enumerate())
        threading.excepthook = _log_failed_thread
        sdk_worker.print = _log_printed

    def _unmute(self) -> None:
        """Restore the hook, except for threads of the run that are still alive: those of a failed run fail later."""
        previous, left = self._excepthook, set(threading.enumerate()) - self._earlier

        def hook(failed: threading.ExceptHookArgs) -> None:
            (_log_failed_thread if failed.thread in left else previous)(failed)

        threading.excepthook = hook if left else previous

    def start(self) -> None:
        """Start the engine's processes; none by default."""

    def stop(self) -> None:
        """Stop the engine's processes."""

    def cause(self, error: Exception) -> HeterrecError | None:
        """The error for a dead process that caused an engine's exception; None if there is none."""
        return None

    def submitted(self) -> None:
        """Called when the engine has accepted the job."""

    def path(self, path: str) -> str:
        """A path of this process as its workers see it."""
        return os.path.abspath(path) if self.remote_workers and "://" not in path else path

    def run(self, pipeline: beam.Pipeline) -> Any:
        """Run a graph to completion and return Beam's result.

        Raises:
            KeyboardInterrupt: interrupted; the job is cancelled if the engine supports it.
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


def died(error: Exception, exited: Callable[[], bool]) -> bool:
    """Whether a process has exited. After a connection error it waits: connections close shortly before the exit."""
    until = time.monotonic() + (EXIT_SECONDS if isinstance(error, grpc.RpcError) else 0)
    while not exited():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _log_failed_thread(thrown: threading.ExceptHookArgs) -> None:
    LOG.info("a thread failed: %r", thrown.thread, exc_info=thrown.exc_value)


def _log_printed(*words: object, **_how: object) -> None:
    """Log the output of Beam's worker, which prints each error and also raises it."""
    LOG.info("%s", " ".join(map(str, words)))


def _wait_for_bundles() -> None:
    """Wait until no thread of this process runs a bundle, which could write files that are about to be deleted."""
    until = time.monotonic() + BUNDLE_SECONDS
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
