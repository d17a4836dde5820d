"""Connections: HTTP/1.1 of uvicorn, with bounds on slow clients and on the number of connections."""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from heterrec_model.service.problems import Problem, Problems

MOST_CONNECTIONS = 512
"""Number of open connections."""
HEAD_SECONDS = 5.0
"""Seconds in which the head of a request has to arrive."""
REQUEST_SECONDS = 15.0
"""Seconds after which a request ends, whether its body has arrived and its answer was read or not."""
IDLE_SECONDS = 0.2
"""Seconds that a connection without a request stays open when the service stops."""


class Connection(H11Protocol):
    """One connection.

    uvicorn closes idle connections, but only after a first answer, and waits for ever for slow clients.

    Args:
        refused: called with the reason of a refusal.
        most: number of open connections.
        head_seconds, request_seconds: see the constants.
        uvicorn: arguments of uvicorn's own.
    """

    def __init__(
        self,
        *,
        refused: Callable[[str], None],
        most: int = MOST_CONNECTIONS,
        head_seconds: float = HEAD_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self._refused, self._most = refused, most
        self._head_seconds, self._request_seconds = head_seconds, request_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._timed: object = self
        """The cycle that the timer belongs to; None for the head of a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection too many; wait for its first request."""
        if len(self.connections) >= self._most:
            self.transport = transport
            self._refused("connections")
            transport.write(
                _raw(503, "Service Unavailable", "too many connections", "retry-after: 1\r\n")
            )
            transport.close()
            return
        super().connection_made(transport)
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        """Restart the timer when a request or the next head begins."""
        super().data_received(data)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._set_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if the client never reads the end of its answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Close the connection after its request, which may be on its way; answers then say that they are the last."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(IDLE_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in JSON like every other mistake; after an answer has begun, only close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_raw(400, "Bad Request", "this is no HTTP request"))
        self.transport.close()

    def _set_timer(self) -> None:
        """One timer for a head, another for the rest of the request and its answer."""
        busy = self.cycle is not None and not self.cycle.response_complete
        sending = self.conn.their_state is h11.SEND_BODY
        current = self.cycle if busy or sending else None
        if current is self._timed and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timed = current
        if current is None and self.timeout_keep_alive_task is not None:
            self._timer = None  # idle: uvicorn's own timer
            return
        seconds = self._head_seconds if current is None else self._request_seconds
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._timed is None and not self.transport.is_closing():
            self.transport.write(_raw(408, "Request Timeout", "the request was too slow"))
            self.transport.close()
        else:
            self.transport.abort()


def _raw(status: int, phrase: str, what: str, header: str = "") -> bytes:
    """A whole answer outside of the application."""
    body = Problems(errors=[Problem(what=what)]).model_dump_json(exclude_none=True)
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{header}connection: close\r\n\r\n"
    )
    return (head + body).encode("ascii")
