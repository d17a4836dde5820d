"""A service in a thread of the test, and requests to it."""

import http.client
import json
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stub_bundle import StubRecommender

from heterrec_model.service.server import HttpService, Settings


@dataclass
class Running:
    """A service in a thread of the test."""

    service: HttpService
    host: str
    port: int
    thread: threading.Thread
    headers: dict[str, str] = field(default_factory=dict)

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, self.headers, text = self.send("POST", path, raw, content_type="application/json")
        return status, json.loads(text)

    def get(self, path: str) -> tuple[int, Any]:
        status, self.headers, text = self.send("GET", path)
        return status, json.loads(text)

    def metric(self, name: str) -> float:
        """The value of a metric with its labels as they are written."""
        text = self.send("GET", "/metrics")[2].decode()
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def raw(self, sent: bytes, timeout: float = 10) -> bytes:
        """The bytes that come back until the service closes the connection."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            connection.sendall(sent)
            received = b""
            while part := connection.recv(65536):
                received += part
            return received


def run_service(bundle: Path, drain: float = 0.0, **settings: Any) -> Running:
    started = threading.Event()
    addresses = []
    service = HttpService(
        Settings(bundle=bundle, port=0, drain=drain, **settings),
        StubRecommender,
        lambda address: (addresses.append(address), started.set()),
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    assert started.wait(10)
    host, _, port = addresses[0].removeprefix("http://").partition(":")
    return Running(service, host, int(port), thread)
