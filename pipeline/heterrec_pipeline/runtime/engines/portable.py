"""A job service that the user started, on this machine or another one."""

import contextlib
from typing import Any

import apache_beam as beam
import psutil

from heterrec_pipeline.runtime.engines.engine import Engine, died
from heterrec_pipeline.runtime.engines.processes import is_running
from heterrec_schemas.errors import RunError


class JobService(Engine):
    """Beam's PortableRunner; its errors distinguish a dead service from a failed job."""

    def __init__(self, endpoint: str, remote_workers: bool) -> None:
        """Use the service at `host:port`; `remote_workers`: see `Engine`."""
        self.remote_workers = remote_workers
        self._endpoint = endpoint

    def start(self) -> None:
        """Find the process of the service."""
        self._process = listener(self._endpoint)

    def run(self, pipeline: beam.Pipeline) -> Any:
        """Run a graph, unless the service has ended meanwhile: Beam would wait for it for minutes.

        Raises:
            RunError: it has ended.
        """
        if self._process is not None and not is_running(self._process):
            raise self._dead(self._process)
        return super().run(pipeline)

    def cause(self, error: Exception) -> RunError | None:
        """The error for a dead service; None if it still runs."""
        process = self._process
        if process is None or not died(error, lambda: not is_running(process)):
            return None
        return self._dead(process)

    def _dead(self, process: psutil.Process) -> RunError:
        return RunError(
            f"the job service at {self._endpoint} (process {process.pid}) died during the run",
            todo="Nothing was published. Start the service again, then run the same command.",
        )


def listener(endpoint: str) -> psutil.Process | None:
    """The process of this machine that listens at a local endpoint; None if it cannot be determined."""
    host, _, port = endpoint.rpartition(":")
    if not is_local(host):
        return None
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        for found in psutil.net_connections("tcp"):
            listens = found.status == psutil.CONN_LISTEN and found.laddr[1:] == (int(port),)
            if listens and found.pid:
                return psutil.Process(found.pid)
    return None


def is_local(host: str) -> bool:
    """Whether a host name is this machine's loopback."""
    return host.strip("[]") in ("localhost", "127.0.0.1", "::1")
