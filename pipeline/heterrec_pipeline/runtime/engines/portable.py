"""A job service that somebody else has started, on this machine or another one."""

import contextlib

import psutil

from heterrec_pipeline.runtime.engines.engine import Engine, gone_with
from heterrec_pipeline.runtime.engines.processes import alive
from heterrec_schemas.errors import RunError


class JobService(Engine):
    """Beam's PortableRunner: told apart is whether the service has died, or the job has failed."""

    def __init__(self, endpoint: str, apart: bool) -> None:
        """Watch the service at `host:port`; `apart`: workers are other processes than this one."""
        self.apart = apart
        self._endpoint = endpoint

    def start(self) -> None:
        """Remember who listens there."""
        self._process = listener(self._endpoint)

    def cause(self, error: Exception) -> RunError | None:
        """Whether the service is gone."""
        process = self._process
        if process is None or not gone_with(error, lambda: not alive(process)):
            return None
        return RunError(
            f"the job service at {self._endpoint} (process {process.pid}) died in the middle of the job",
            todo="Nothing was published. Start the service again, then run the same command.",
        )


def listener(endpoint: str) -> psutil.Process | None:
    """The process of this machine that listens at a local endpoint; None where it cannot be told."""
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
    """Whether a host's name stands for this machine."""
    return host.strip("[]") in ("localhost", "127.0.0.1", "::1")
