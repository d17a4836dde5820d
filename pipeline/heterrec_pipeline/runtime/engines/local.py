"""Watched worker processes of Beam's local engine: Beam itself waits forever for one that died."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import ExitStack
from typing import IO, Any, ClassVar, NamedTuple

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    GrpcWorkerHandler,
    WorkerHandler,
)

from heterrec_pipeline.runtime.engines import worker
from heterrec_pipeline.runtime.engines.engine import Engine
from heterrec_pipeline.runtime.engines.processes import describe_exit, stop_process
from heterrec_pipeline.runtime.workers import cores
from heterrec_pipeline.telemetry.worker_progress import read_snapshots
from heterrec_schemas.errors import HeterrecError, RunError

REPORT_SECONDS = 0.2
"""Time in seconds between two answers to the pending requests of a dead worker."""
EXIT_SECONDS = 0.1
"""Time in seconds for a worker to exit by itself at the end of a run; all its results have been reported by then."""


class LocalProcesses(Engine):
    """FnApiRunner with `--direct_running_mode=multi_processing`."""

    def __init__(self, options: PipelineOptions) -> None:
        """Pass these options to the workers, as far as they are plain values."""
        self._options = options
        self._open = ExitStack()

    def start(self) -> None:
        """Register the watched worker in place of Beam's, and start the processes."""
        given = self._options.get_all_options(drop_default=True)
        WatchedWorker.deaths.clear()
        WatchedWorker.options = json.dumps({"options": given}, default=str)
        WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(WatchedWorker)
        WatchedWorker.progress = self._open.enter_context(
            tempfile.TemporaryDirectory(prefix="heterrec-progress-", ignore_cleanup_errors=True)
        )
        self._open.enter_context(read_snapshots(WatchedWorker.progress))
        count = self._options.view_as(DirectOptions).direct_num_workers
        WatchedWorker.waiting.extend(start_process(count) for _ in range(count))

    def stop(self) -> None:
        """Kill the processes that no worker uses."""
        while WatchedWorker.waiting:
            waiting = WatchedWorker.waiting.pop()
            waiting.process.kill()
            waiting.process.wait()
            waiting.close()
        self._open.close()

    def cause(self, error: Exception) -> HeterrecError | None:
        """The death of the first worker that died."""
        return next(iter(WatchedWorker.deaths), None)


class WorkerProcess(NamedTuple):
    """A worker process, and the file that takes its output; None if the terminal does."""

    process: subprocess.Popen[bytes]
    output: IO[bytes] | None

    def close(self) -> None:
        """Delete the output."""
        if self.output is not None:
            self.output.close()


def start_process(workers: int) -> WorkerProcess:
    """Start one of several worker processes; it imports modules, then waits for its settings on standard input."""
    threads = str(max(1, cores() // workers))
    quiet = not logging.getLogger().isEnabledFor(logging.INFO)
    output = tempfile.TemporaryFile() if quiet else None
    process = subprocess.Popen(
        [sys.executable, "-m", worker.__name__],
        env={"POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads} | os.environ,
        stdin=subprocess.PIPE,
        stdout=output or 2,  # standard output belongs to the command's result
        stderr=output,
        start_new_session=True,  # Ctrl-C reaches the command only, which stops its workers
    )
    return WorkerProcess(process, output)


class WatchedWorker(GrpcWorkerHandler):
    """A worker process. If it exits during a run, the other workers are killed and the run fails with the reason."""

    options: ClassVar[str] = "{}"
    """Beam's options as JSON, which the workers need for file systems; Beam itself passes none."""
    progress: ClassVar[str] = ""
    """Folder for snapshots of the progress of this run's workers."""
    waiting: ClassVar[list[WorkerProcess]] = []
    """Processes that were started ahead and that no worker has taken yet."""
    deaths: ClassVar[list[RunError]] = []
    """The workers of this run that died, in that order."""
    _all: ClassVar[weakref.WeakSet["WatchedWorker"]] = weakref.WeakSet()

    def __init__(self, command: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        """Called by Beam; its command line for a worker is not used, since `worker` starts faster."""
        super().__init__(state, provision_info, grpc_server)
        self._killed = False
        self._closed = threading.Event()
        self._all.add(self)

    def start_worker(self) -> None:
        """Start the process, and a thread that waits for its exit."""
        settings = {
            "WORKER_ID": self.worker_id,
            "PIPELINE_OPTIONS": self.options,
            "CONTROL_API_SERVICE_DESCRIPTOR": str(self.control_api_service_descriptor()),
            "LOGGING_API_SERVICE_DESCRIPTOR": str(self.logging_api_service_descriptor()),
            worker.PROGRESS_VARIABLE: self.progress,
        }
        started = self.waiting.pop() if self.waiting else start_process(1)
        self._process, self._output = started
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the worker died, which `_watch` reports
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.close()
        self._watcher = threading.Thread(target=self._watch, name=f"watch {self.worker_id}")
        self._watcher.start()

    def close(self) -> None:
        """Mark the run as over: from now on the worker may exit."""
        self._closed.set()
        super().close()

    def stop_worker(self) -> None:
        """Wait for the process to exit; kill it after EXIT_SECONDS."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_SECONDS)
        if self._process.poll() is None:
            self._killed = True
            stop_process(self._process)
        self._watcher.join()
        if self._output is not None:
            self._output.close()

    def _watch(self) -> None:
        code = self._process.wait()
        if self._killed or (self._closed.is_set() and code == 0):
            return
        death = RunError(
            f"worker process {self._process.pid} ({self.worker_id}) {describe_exit(code)}{self._last_line()}",
            todo="Nothing was published. Run again, with fewer workers if memory was short.",
        )
        self.deaths.append(death)
        for other in list(self._all):
            if other._grpc_server is self._grpc_server:
                other._killed = True
                other._process.kill()
                threading.Thread(target=other._report_death, args=(death,), daemon=True).start()

    def _report_death(self, death: RunError) -> None:
        """Answer every request to this worker with the death, until the run closes it."""
        text = f"{death.message} {death.to_wire()}"
        while not self._closed.wait(REPORT_SECONDS):
            for key, future in list(self.control_conn._futures_by_id.items()):
                if not future.is_done():
                    future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=key, error=text))

    def _last_line(self) -> str:
        """The last line of the worker's output, which is the reason if it could not start."""
        if self._output is None:
            return ""
        self._output.seek(0)
        lines = self._output.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f"; the last line of its output: {lines[-1].strip()}" if lines else ""
