"""Prism as a child process: started on a free port, watched, and stopped with all its workers."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PortableOptions

from heterrec_pipeline.runtime.engines.engine import Engine, died
from heterrec_pipeline.runtime.engines.processes import (
    describe_exit,
    is_running,
    kill_session,
    session_processes,
    stop_process,
)
from heterrec_pipeline.runtime.loopback import open_ports
from heterrec_schemas.errors import CallError, RunError

START_SECONDS = 30.0
"""Maximum time in seconds until Prism accepts connections."""
WORKERLESS_SECONDS = 15.0
"""Maximum time in seconds that a job may be without worker processes before it is aborted."""
WATCH_SECONDS = 0.5
"""Time in seconds between two checks for worker processes."""
LOG_SECONDS = 1.0
"""Maximum time in seconds to wait for the log line about a worker that has exited."""
IDLE_SHUTDOWN = "60s"
"""Idle time after which Prism exits by itself, in case this process is killed."""
ALLOW_OPEN_PORTS = "Use the Prism of `make engines`, or accept open ports with --allow-open-ports."
WORKER, BOOT = "worker process", "boot process"
_PARENT_ENDED, _WORKER_GONE = "process failed while running", "SDK worker disconnected"
_EXITED = re.compile(r"Python \(worker \S+\) exited \d+ times: (.+)")
TODO = (
    "Nothing was published. Run again; if memory was short, use the local engine, which needs less."
)


class Prism(Engine):
    """A Prism process in a new session, with a temporary folder for its log and the files of its workers."""

    def __init__(self, binary: str, processes: bool, allow_open_ports: bool) -> None:
        """Run a Prism.

        Args:
            binary: Prism's program.
            processes: whether workers are processes that it starts; else they are threads of this process.
            allow_open_ports: accept a program that listens on other interfaces than the loopback one.
        """
        self.remote_workers = processes
        self._binary = binary
        self._processes = processes
        self._allow_open_ports = allow_open_ports
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._workerless = False
        self._workers: dict[psutil.Process, str] = {}

    def run(self, pipeline: beam.Pipeline) -> Any:
        """Start Prism, and run a graph on it.

        It is not started earlier: on a busy machine a large graph may take longer to draw than Prism waits for a job.

        Raises:
            RunError: it cannot be started, exits, or accepts no connections in time.
            CallError: it accepts connections of other machines.
        """
        port = self._launch()
        # The pipeline has its own copy of the options.
        pipeline.options.view_as(PortableOptions).job_endpoint = f"localhost:{port}"
        return super().run(pipeline)

    def _launch(self) -> int:
        """Start Prism and wait until it accepts connections; returns the port."""
        self._folder = Path(tempfile.mkdtemp(prefix="heterrec-prism-"))
        port = _free_port()
        command = [self._binary, f"--job_port={port}", "--serve_http=false", "--log_kind=json"]
        try:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [*command, f"--idle_shutdown_timeout={IDLE_SHUTDOWN}"],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise RunError(f"Prism cannot be started: {error}") from None
        self._wait_for(self._process, port)
        self._check_ports(self._process)
        return port

    def _wait_for(self, process: subprocess.Popen[bytes], port: int) -> None:
        until = time.monotonic() + START_SECONDS
        while not accepts_connections("localhost", port):
            code = process.poll()
            if code is not None or time.monotonic() > until:
                what = "does not answer" if code is None else describe_exit(code)
                raise RunError(f"Prism (process {process.pid}, {self._binary}) {what}")
            time.sleep(0.05)

    def _check_ports(self, process: subprocess.Popen[bytes]) -> None:
        found = open_ports([psutil.Process(process.pid)])
        if found and not self._allow_open_ports:
            raise CallError(
                f"{self._binary} accepts connections of other machines, without authentication, at {found[0]}",
                todo=ALLOW_OPEN_PORTS,
            )

    def submitted(self) -> None:
        """Watch the worker processes from now on."""
        if self._processes and self._process is not None:
            arguments = (self._process,)
            threading.Thread(
                target=self._watch, args=arguments, name="watch Prism", daemon=True
            ).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Kill Prism if its job has no workers for too long: Prism would wait for them forever."""
        last = time.monotonic()
        while not self._over.wait(WATCH_SECONDS):
            found = session_processes(process.pid)
            self._see(found)
            if found:
                last = time.monotonic()
            elif time.monotonic() - last > WORKERLESS_SECONDS:
                self._workerless = True
                process.kill()
                return

    def _see(self, found: list[psutil.Process]) -> None:
        """Remember the roles of processes; a worker stays one, since a process that dies meanwhile has no command line."""
        for one in found:
            if self._workers.get(one) != WORKER:
                self._workers[one] = _role(one)

    def stop(self) -> None:
        """Stop Prism and all processes that it started."""
        self._over.set()
        if self._process is None:
            return
        stop_process(self._process)
        kill_session(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    def cause(self, error: Exception) -> RunError | None:
        """The error for a dead Prism or a dead process that it started; None if a step failed."""
        prism = self._process
        if prism is None:
            return None
        if not self._workerless and died(error, lambda: prism.poll() is not None):
            return RunError(
                f"Prism (process {prism.pid}) {describe_exit(prism.poll())}",
                todo=TODO,
            )
        if not self._processes or "Traceback" in str(error):
            return None
        if WORKER not in self._workers.values():
            return RunError(
                f"no worker process could be started{self._start_error()}",
                todo="Nothing was published. Check the worker's command (process_command).",
            )
        how = self._exit_of_worker()
        role = BOOT if how is None else WORKER
        for process in self._workers:
            if self._workers[process] == role and not is_running(process):
                return RunError(
                    f"{role} {process.pid} of Prism {how or describe_exit(None)}", todo=TODO
                )
        return None

    def _exit_of_worker(self) -> str | None:
        """The end of a worker process, by Prism's log; None if its parent ended before it.

        Prism ends the parent of a worker with the job, at times before the parent has logged how the worker ended.
        """
        until = time.monotonic() + LOG_SECONDS
        while True:
            messages = [f"{line.get('msg')} {line.get('error', '')}" for line in self._log()]
            for message in messages:
                if exited := _EXITED.search(message):
                    return f"ended early ({exited[1]})"
            first = next((m for m in messages if _PARENT_ENDED in m or _WORKER_GONE in m), "")
            if _PARENT_ENDED in first:
                return None
            if time.monotonic() > until:
                return "ended early" if first else None
            time.sleep(0.1)

    def _start_error(self) -> str:
        """The error that Prism logged for the program that starts a worker."""
        for line in self._log():
            if str(line.get("msg", "")).startswith("process failed"):
                return f": {line['msg']}: {str(line.get('error', ''))[:200]}"
        return ""

    def _log(self) -> list[dict[str, Any]]:
        lines = []
        for line in (self._folder / "log").read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                lines.append(found if isinstance(found, dict) else {})
        return lines


def _role(process: psutil.Process) -> str:
    """The role of a process in Prism's session."""
    try:
        return WORKER if "sdk_worker_main" in " ".join(process.cmdline()) else BOOT
    except psutil.Error:
        return BOOT


def accepts_connections(host: str, port: int) -> bool:
    """Whether a process listens at a port."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
