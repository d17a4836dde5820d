"""The emulators of both stores as processes, each behind a proxy that records requests and injects faults.

The proxy also does what an emulator lacks: Google's emulator ignores `ifGenerationMatch`, and neither of the two
keeps its check and its write together. The proxy therefore checks generations itself, and lets one conditional
write through at a time.
"""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

BUCKET = "shop"
COMMANDS = {
    "gs": ["-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", "--in-memory", "--port={}"],
    "s3": ["-m", "moto.server", "-H", "127.0.0.1", "-p", "{}"],
}
_OWN = ("connection", "transfer-encoding", "keep-alive", "date", "server", "content-length")


@dataclass(frozen=True)
class Asked:
    """A request: its method, its path without the query, its query, and its headers in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def reads(self) -> bool:
        """Whether the request reads the content of an object, not a listing or metadata."""
        return self.method == "GET" and ("range" in self.headers or "alt" in self.query)

    @property
    def writes(self) -> bool:
        """Whether the request writes the content of an object."""
        return self.method == "PUT" or (self.method == "POST" and "/upload/" in self.path)


@dataclass
class Fault:
    """What happens to requests: a status, `drop` (no answer, not done), `lost` (done, no answer), `cut` (half an
    answer), `short` (half an answer that says that it is whole), or a number of seconds to wait before it is done.

    Attributes:
        kind: one of these.
        chosen: which requests are spoilt.
        times: how many of them; one a request where `each` is set.
        each: spoil every chosen request the first time it comes, and never again.
    """

    kind: int | float | str
    chosen: Callable[[Asked], bool] = lambda asked: True
    times: int = 1
    each: bool = False
    seen: set[Any] = field(default_factory=set)

    def hits(self, asked: Asked) -> bool:
        """Whether the fault applies to this request."""
        if not self.chosen(asked):
            return False
        if self.each:
            one = (
                asked.method,
                asked.path,
                asked.headers.get("range"),
                *sorted(asked.query.items()),
            )
            known = one in self.seen
            self.seen.add(one)
            return not known
        self.times -= 1
        return self.times >= 0


class Proxy:
    """The proxy of one emulator.

    Attributes:
        url: what clients are given.
        faults: what is spoilt; tests set it.
        asked: the requests that came, spoilt ones too.
    """

    def __init__(self, scheme: str, port: int) -> None:
        self.scheme, self.port = scheme, port
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.writing = threading.Lock()
        self.choosing = threading.Lock()
        proxy = self

        class Handler(_Handler):
            behind = proxy

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def calm(self) -> None:
        """Remove all faults and records."""
        self.faults, self.asked = [], []

    def fault_for(self, asked: Asked) -> Fault | None:
        with self.choosing:
            self.asked.append(asked)
            return next((fault for fault in self.faults if fault.hits(asked)), None)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the body of an answer waits until the client has acknowledged the head, which it does late.
    disable_nagle_algorithm = True
    behind: Proxy

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {k.lower(): v for k, v in self.headers.items()}
        asked = Asked(self.command, url.path, query, headers)
        body = self._body(headers)
        fault = self.behind.fault_for(asked)
        kind = fault.kind if fault else None
        if kind == "drop":
            self._hang_up()
            return
        if isinstance(kind, int) and not isinstance(kind, bool) and kind >= 400:
            self._answer(kind, {"Content-Type": "text/plain"}, b"the proxy says no")
            return
        if isinstance(kind, float):
            time.sleep(kind)
        status, sent, data = self._forward(asked, body)
        if kind == "lost":
            self._hang_up()
            return
        if kind == "short":
            data = data[: len(data) // 2]
            sent = {k: v for k, v in sent.items() if k.lower() != "content-length"}
        self._answer(status, sent, data, half=kind == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _serve

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _forward(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        conditional = {"if-match", "if-none-match"} & set(asked.headers) and asked.writes
        if not conditional and "ifGenerationMatch" not in asked.query:
            return self._ask(self.command, self.path, dict(self.headers.items()), body)
        with self.behind.writing:
            if (
                "ifGenerationMatch" in asked.query
                and self._generation(asked, body) != asked.query["ifGenerationMatch"]
            ):
                return 412, {"Content-Type": "text/plain"}, b"conditionNotMet"
            return self._ask(self.command, self.path, dict(self.headers.items()), body)

    def _generation(self, asked: Asked, body: bytes) -> str:
        """The generation of the object that a conditional request to Google's store is about."""
        bucket = asked.path.partition("/b/")[2].partition("/")[0]
        name = unquote(asked.path.rpartition("/o/")[2])
        if asked.writes:  # in the first part of the body
            name = json.loads(body.split(b"\r\n\r\n", 1)[1].split(b"\r\n", 1)[0])["name"]
        path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        status, _, data = self._ask("GET", path, {}, b"")
        return str(json.loads(data)["generation"]) if status == 200 else "0"

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.behind.port, timeout=60)
        kept = {
            k: v for k, v in headers.items() if k.lower() not in ("transfer-encoding", "expect")
        }
        if body:
            kept["Content-Length"] = str(len(body))
        try:
            connection.request(method, path, body or None, kept)
            answer = connection.getresponse()
            sent = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
            if method == "HEAD":
                sent["Content-Length"] = answer.getheader("Content-Length", "0")
            return answer.status, sent, answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], data: bytes, half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(
                name, value.replace(f"http://127.0.0.1:{self.behind.port}", self.behind.url)
            )
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # the client has given up
                self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@dataclass
class Emulator:
    """A running emulator with its proxy."""

    scheme: str
    process: "subprocess.Popen[bytes]"
    proxy: Proxy

    @property
    def bucket(self) -> str:
        return f"{self.scheme}://{BUCKET}"

    def stop(self) -> None:
        self.proxy.stop()
        self.process.kill()  # it has nothing but memory
        self.process.wait()


def start(scheme: str) -> Emulator:
    """Start an emulator and its proxy, with one empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(part.format(port) for part in COMMANDS[scheme])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    method, path, body = ("PUT", f"/{BUCKET}", "")
    if scheme == "gs":
        method, path, body = ("POST", "/storage/v1/b?project=p", json.dumps({"name": BUCKET}))
    until = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
            return Emulator(scheme, process, Proxy(scheme, port))
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                process.wait()
                raise
            time.sleep(0.1)
        finally:
            connection.close()
