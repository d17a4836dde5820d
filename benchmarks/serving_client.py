"""A service as a process, and clients of it: shared by serving.py and serving_attack.py."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).resolve().parents[1]
JSON = {"content-type": "application/json"}


class Server:
    """`heterrec-model serve` on a free port."""

    def __init__(self, bundle: Path, *options: str, cores: set[int] | None = None) -> None:
        command = [sys.executable, "-m", "heterrec_model", "serve", "--bundle", str(bundle)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _rooms()))},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the service did not start; run it by hand to see why")
        where = urlsplit(json.loads(line)["address"])
        self.host, self.port = str(where.hostname), int(where.port or 0)
        self._ps = psutil.Process(self.process.pid)
        if cores:
            self._ps.cpu_affinity(sorted(cores))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def client(self) -> "Client":
        """A client with a connection of its own."""
        return Client(self.host, self.port)

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        times = self._ps.cpu_times()
        return float(times.user + times.system)

    def megabytes(self) -> float:
        """Resident memory now."""
        return float(self._ps.memory_info().rss) / 2**20

    def metric(self, name: str) -> float:
        """The value of a metric, with its labels as they are written."""
        lines = self.client().call("GET", "/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith(name + " ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


class Client:
    """One kept-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=30)

    def connect(self) -> None:
        """Connect now rather than with the first request."""
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as the client knows."""
        return self._connection.sock is not None

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        self._connection.request(method, path, body, JSON if body else {})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and parsed body of an answer."""
        status, text = self.call("POST", path, json.dumps(body).encode())
        return status, json.loads(text)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _rooms() -> list[Path]:
    return [ROOT / "schemas", ROOT / "pipeline", ROOT / "model"]
