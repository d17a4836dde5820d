"""The HTTP application: routes, limits of a request, headers of every answer.

POST /recommend, /similar, /vectors      answers
GET  /healthz, /readyz, /metrics         for the platform
GET  /openapi.json                       description
GET  /, /examples                        the page
"""

import asyncio
import logging
import random
import time
import traceback
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heterrec_model.service.answers import Answers, Reply
from heterrec_model.service.bodies import (
    MOST_BYTES,
    RecommendBody,
    SimilarBody,
    VectorsBody,
    parse,
)
from heterrec_model.service.compute import Compute
from heterrec_model.service.live import Current
from heterrec_model.service.metrics import Metrics
from heterrec_model.service.openapi import description
from heterrec_model.service.page import page, policy
from heterrec_model.service.problems import Problem, RefusedError, bad_request, of_error
from heterrec_schemas.errors import CallError, HeterrecError

BODY_SECONDS = 5.0
"""Seconds in which a body has to arrive."""
JSON = "application/json"
BodyT = TypeVar("BodyT", RecommendBody, SimilarBody, VectorsBody)
_LOG = logging.getLogger("heterrec_model.service")
_FIXED = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_GONE = 499
"""Status in the metrics when the client left before the answer."""


class Service:
    """The state of the application.

    Attributes:
        current: holds the bundle in use.
        metrics: of the service.
        draining: whether the service stops: connections are closed after their answer, and it is not ready.
    """

    def __init__(
        self,
        current: Current,
        metrics: Metrics,
        compute: Compute,
        *,
        show_page: bool = True,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self.current = current
        self.metrics = metrics
        self.draining = False
        self._answers = Answers(current, metrics)
        self._compute = compute
        self._show_page = show_page
        self._body_seconds = body_seconds
        metrics.uses(current.live.recommender.identity)

    def app(self) -> ASGIApp:
        """The application for an ASGI server."""
        answers = self._answers
        routes = [
            self._post("/recommend", RecommendBody, answers.recommend),
            self._post("/similar", SimilarBody, answers.similar),
            self._post("/vectors", VectorsBody, answers.vectors),
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics_text),
            Route("/openapi.json", self._description),
        ]
        if self._show_page:
            routes += [Route("/", self._page), Route("/examples", self._examples)]
        return Starlette(
            routes=routes,
            middleware=[Middleware(_Around, service=self, paths={r.path for r in routes})],
            exception_handlers={RefusedError: _refused, HTTPException: _http_error},
        )

    def _post(self, path: str, model: type[BodyT], work: Callable[[BodyT], Reply]) -> Route:
        async def endpoint(request: Request) -> Response:
            raw = await self._body(request)
            with self.metrics.stage("parse"):
                body = parse(raw, model)
            return await self._computed(request, partial(work, body))

        return Route(path, endpoint, methods=["POST"])

    async def _computed(self, request: Request, work: Callable[[], Reply]) -> Response:
        """The result of a function in the compute thread, unless the client leaves first."""
        gone = asyncio.ensure_future(_left(request))
        try:
            reply = await self._compute.run(work, gone)
        except CallError as error:
            raise of_error(error) from None
        except asyncio.CancelledError:
            if not gone.done():
                raise  # the server stops
            raise ClientDisconnect from None
        finally:
            gone.cancel()
        return Response(reply.body, media_type=JSON, headers=reply.headers)

    async def _body(self, request: Request) -> bytes:
        """The body of a request, if it has the right type, size and speed."""
        headers = request.headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise bad_request("content-type", kind or "none", JSON)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise bad_request("content-encoding", headers["content-encoding"], "none")
        if "content-length" in headers and "transfer-encoding" in headers:
            raise bad_request(
                "content-length and transfer-encoding", "both", "one of them, not both"
            )
        declared = headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > MOST_BYTES:
            raise _too_large(f"{declared[:18]} bytes")
        raw = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for chunk in request.stream():
                    raw += chunk
                    if len(raw) > MOST_BYTES:
                        raise _too_large(f"more than {MOST_BYTES:,} bytes")
        except TimeoutError:
            problem = Problem(
                what="the body", got="too slow", expected=f"within {self._body_seconds:g} s"
            )
            headers_out = {"connection": "close"}
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, [problem], headers_out) from None
        return bytes(raw)

    async def _health(self, request: Request) -> Response:
        return _status("stopping" if self.draining else "ok")

    async def _ready(self, request: Request) -> Response:
        live = self.current.live
        if self.draining:
            return _status("stopping", 503)
        identity = live.recommender.identity
        text = identity.model_dump_json()
        return Response(f'{{"status":"ok",{text[1:]}', media_type=JSON, headers=dict(live.headers))

    async def _metrics_text(self, request: Request) -> Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.metrics.text(), headers={"content-type": kind})

    async def _description(self, request: Request) -> Response:
        return Response(description(self._show_page), media_type=JSON)

    async def _page(self, request: Request) -> Response:
        headers = {"content-security-policy": policy()}
        return Response(page(), media_type="text/html", headers=headers)

    async def _examples(self, request: Request) -> Response:
        return await self._computed(request, partial(self._answers.examples, random.randrange))


class _Around:
    """Counts every request, sets the headers of every answer, and catches every error without its message."""

    def __init__(self, app: ASGIApp, service: Service, paths: set[str]) -> None:
        self._app = app
        self._service = service
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _GONE
        begun = False

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers.update(_FIXED)
                if self._service.draining:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            pass
        except Exception as error:
            _log_failure(error)
            status = 500
            if not begun:
                await _failed(error)(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            seconds = time.perf_counter() - started
            self._service.metrics.answered(path, str(status), seconds)


async def _left(request: Request) -> None:
    """Wait until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _log_failure(error: Exception) -> None:
    """Log where an error was raised; its message may name a user."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-5:])
    _LOG.error("a request failed with %s\n%s", type(error).__name__, frames)


def _failed(error: Exception) -> Response:
    what = error.message if isinstance(error, HeterrecError) else "the service failed"
    return _response(RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, [Problem(what=what)]))


def _too_large(got: str) -> RefusedError:
    problem = Problem(what="the body", got=got, expected=f"at most {MOST_BYTES:,} bytes")
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [problem])


def _response(refused: RefusedError) -> Response:
    return Response(refused.body(), int(refused.status), media_type=JSON, headers=refused.headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _response(error)


def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or no such method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    expected = "a path of /openapi.json"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        expected = headers.get("Allow", "another method")
    problem = Problem(
        what=status.phrase.lower(),
        got=f"{request.method} {request.url.path}"[:100],
        expected=expected,
    )
    return _response(RefusedError(status, [problem], headers))


def _status(word: str, status: int = 200) -> Response:
    return Response(f'{{"status":"{word}"}}', status, media_type=JSON)
