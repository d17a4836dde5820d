"""Serve a bundle over HTTP until SIGTERM or SIGINT."""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import disable_created_metrics

from heterrec_model.service.app import Service
from heterrec_model.service.compute import DEADLINE, QUEUE, Compute
from heterrec_model.service.connection import Connection
from heterrec_model.service.live import CACHED_USERS, Current, Opener, open_live
from heterrec_model.service.metrics import Metrics
from heterrec_model.service.reload import Reloader, bundle_folder
from heterrec_schemas.errors import RunError

HOST, PORT = "127.0.0.1", 8080
DRAIN_SECONDS = 1.0
"""Seconds after SIGTERM in which requests are still accepted; /readyz already answers 503."""
STOP_SECONDS = 10
"""Seconds that requests in progress have afterwards."""
SWITCH_SECONDS = 0.0005
"""Seconds after which a thread yields the interpreter, so that the event loop does not wait for the compute thread."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a service.

    Attributes:
        bundle: a bundle's folder, or a pointer file.
        host: address to listen on.
        port: 0 chooses a free one.
        queue: number of requests that may wait.
        deadline: seconds that a request may wait.
        cached_users: number of users whose vectors are kept.
        drain: seconds after SIGTERM in which requests are still accepted.
        show_page: whether / and /examples exist, which show ids of users.
    """

    bundle: Path
    host: str = HOST
    port: int = PORT
    queue: int = QUEUE
    deadline: float = DEADLINE
    cached_users: int = CACHED_USERS
    drain: float = DRAIN_SECONDS
    show_page: bool = True


class HttpService:
    """A service of one bundle, opened and ready to run.

    Args:
        settings: of the service.
        opener: opens and verifies a bundle.
        on_start: called with the address once the service answers.

    Raises:
        BundleError: the bundle cannot be served.
        RunError: the address cannot be listened on.
    """

    def __init__(self, settings: Settings, opener: Opener, on_start: Callable[[str], None]) -> None:
        self._settings = settings
        metrics = Metrics()
        folder = bundle_folder(settings.bundle)
        self.reloader = Reloader(settings.bundle, opener, metrics, settings.cached_users)
        self.current = Current(open_live(folder, opener, settings.cached_users))
        self.compute = Compute(metrics, settings.queue, settings.deadline)
        self.application = Service(
            self.current, metrics, self.compute, show_page=settings.show_page
        )
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._connection = partial(Connection, refused=metrics.refused)
        self._server = _Server(self._config(), self.application, settings.drain, on_start)
        self._socket = _listen(settings.host, settings.port)

    def run(self) -> None:
        """Serve until `stop`, SIGTERM or SIGINT; SIGHUP opens the bundle again."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:
            previous = signal.signal(signal.SIGHUP, lambda number, frame: self.reloader.ask())
        switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self.compute.start()
        self.reloader.watch(self.current)
        try:
            self._server.run([self._socket])
        finally:
            sys.setswitchinterval(switch)
            self.reloader.stop()
            self.compute.stop()
            if in_main:
                signal.signal(signal.SIGHUP, previous)

    def stop(self) -> None:
        """Stop as on SIGTERM; from another thread."""
        self._server.should_exit = True

    def _config(self) -> uvicorn.Config:
        """Uvicorn with our connections: no access log, no trust in headers of proxies, no WebSockets."""
        return uvicorn.Config(
            self.application.app(),
            http=self._connection,  # type: ignore[arg-type]  # uvicorn only calls it
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on accepting for a moment after the signal, and does not repeat the signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        drain: float,
        on_start: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._service = service
        self._drain = drain
        self._on_start = on_start

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._on_start(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self._service.draining = True
        await asyncio.sleep(0 if self.force_exit else self._drain)
        await self._accept_the_rest(sockets or [])
        await super().shutdown(sockets)

    async def _accept_the_rest(self, sockets: Sequence[socket.socket]) -> None:
        """Stop listening; clients that have connected meanwhile are still served, where closing alone would reset them."""
        accepted = []
        for listening in sockets:
            with suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for client in accepted:
            client.setblocking(False)
            await loop.connect_accepted_socket(self._connection, client)

    def _connection(self) -> asyncio.Protocol:
        made: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second signal does not wait for requests in progress."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Its protocol is named, since asyncio turns off the delay of small packets (40 ms an answer) for such sockets alone.
    """
    kind, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, proto=protocol)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise RunError(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            todo="Use another --port or --host, or stop the process that has it.",
        ) from None
    listening.setblocking(False)
    return listening


def log_to_stderr() -> None:
    """Log the service's own events, and of uvicorn only errors: neither names a user."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("heterrec_model.service")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
