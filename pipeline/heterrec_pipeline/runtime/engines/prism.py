"""Prism as a child of this process: started on a free port, watched, and ended with all its workers."""

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

import psutil
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from heterrec_pipeline.runtime.engines.engine import Engine, gone_with
from heterrec_pipeline.runtime.engines.processes import alive, end, ended, in_session, kill_session
from heterrec_schemas.errors import RunError

START_SECONDS = 30.0
"""Within which Prism must answer."""
WORKERLESS_SECONDS = 15.0
"""How long a job of worker processes may be without one before it is given up."""
WATCH_SECONDS = 0.5
IDLE_SHUTDOWN = "60s"
"""After which Prism ends by itself, should this process be killed."""
WORKER, BOOT = "worker process", "boot process"
_EXITED = re.compile(r"Python \(worker \S+\) exited \d+ times: (.+)")
TODO = (
    "Nothing was published. Run again; if memory was short, use the local engine, which needs less."
)


class Prism(Engine):
    """A Prism of our own, in a session of its own, and a temporary folder for its log and its workers' files."""

    def __init__(self, options: PipelineOptions, binary: str, processes: bool) -> None:
        """Run `binary`; with `processes` it starts the workers, otherwise they are threads of this process."""
        self.apart = processes
        self._options = options
        self._binary = binary
        self._processes = processes
        self._over = threading.Event()
        self._workerless = False
        self._workers: dict[psutil.Process, str] = {}

    def start(self) -> None:
        """Start Prism and wait until it answers.

        Raises:
            RunError: it does not.
        """
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
        self._options.view_as(PortableOptions).job_endpoint = f"localhost:{port}"
        try:
            self._wait_for(port)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, port: int) -> None:
        until = time.monotonic() + START_SECONDS
        while not answers("localhost", port):
            code = self._process.poll()
            if code is not None or time.monotonic() > until:
                what = "does not answer" if code is None else ended(code)
                raise RunError(f"Prism (process {self._process.pid}, {self._binary}) {what}")
            time.sleep(0.05)

    def submitted(self) -> None:
        """From now on there should be workers."""
        if self._processes:
            threading.Thread(target=self._watch, name="watch Prism", daemon=True).start()

    def _watch(self) -> None:
        """End Prism when its job is without workers: it would wait for them for ever."""
        last = time.monotonic()
        while not self._over.wait(WATCH_SECONDS):
            there = in_session(self._process.pid)
            self._workers.update((process, _role(process)) for process in there)
            if there:
                last = time.monotonic()
            elif time.monotonic() - last > WORKERLESS_SECONDS:
                self._workerless = True
                self._process.kill()
                return

    def stop(self) -> None:
        """End Prism and whatever it has started."""
        self._over.set()
        end(self._process)
        kill_session(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    def cause(self, error: Exception) -> RunError | None:
        """What has died: Prism, or a process that it has started; None where a step has failed."""
        if not self._workerless and gone_with(error, lambda: self._process.poll() is not None):
            return RunError(
                f"Prism (process {self._process.pid}) {ended(self._process.poll())}", todo=TODO
            )
        if not self._processes or "Traceback" in str(error):
            return None
        if WORKER not in self._workers.values():
            return RunError(
                f"no worker process could be started{self._last_words()}",
                todo="Nothing was published. Look at the worker's command (process_command).",
            )
        how = self._exit_of_worker()
        role = BOOT if how is None else WORKER
        for process in self._workers:
            if self._workers[process] == role and not alive(process):
                return RunError(f"{role} {process.pid} of Prism {how or ended(None)}", todo=TODO)
        return None

    def _exit_of_worker(self) -> str | None:
        """How a worker process has ended, as its parent has logged it."""
        for line in self._log():
            if exited := _EXITED.search(str(line.get("msg"))):
                return f"ended early ({exited[1]})"
        return None

    def _last_words(self) -> str:
        """What Prism has logged about the program that should have become a worker."""
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
    """What a process of Prism's session is for."""
    try:
        return WORKER if "sdk_worker_main" in " ".join(process.cmdline()) else BOOT
    except psutil.Error:
        return BOOT


def answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
