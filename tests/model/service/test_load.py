"""The queue, the deadline, the cache and clients that leave or are slow."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from running_service import Running, run_service
from stub_bundle import StubRecommender

from heterrec_model.service import server
from heterrec_model.service.compute import Compute
from heterrec_model.service.connection import Connection
from heterrec_model.service.live import KnownUser, UserVectors
from heterrec_model.service.metrics import Metrics
from heterrec_model.service.problems import RefusedError
from heterrec_model.service.server import HttpService, Settings
from heterrec_schemas.errors import RunError

HEAD = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
def slow(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    """Starts services whose model takes 40 ms, and whose clients have little time."""
    monkeypatch.setattr(StubRecommender, "delay", 0.04)
    patient = partial(Connection, most=40, head_seconds=0.2, request_seconds=0.4)
    monkeypatch.setattr(server, "Connection", patient)
    begun = []

    def start(**settings: object) -> Running:
        begun.append(run_service(bundle, **settings))
        return begun[-1]

    yield start
    for running in begun:
        running.service.stop()
        running.thread.join(10)


def test_a_full_queue_and_a_late_request_are_refused(slow: Callable[..., Running]) -> None:
    running = slow(queue=4, deadline=0.1, cached_users=0)

    def one(user: int) -> tuple[int, str, bytes]:
        body = json.dumps({"user": user}).encode()
        status, headers, text = running.send(
            "POST", "/recommend", body, content_type="application/json"
        )
        return status, headers.get("retry-after", ""), text

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(one, range(1, 17)))
    assert {status for status, _, _ in answers} == {200, 503}
    assert {after for status, after, _ in answers if status == 503} == {"1"}
    whats = {json.loads(t)["errors"][0]["what"][:12] for s, _, t in answers if s == 503}
    assert whats == {"the queue is", "the request "}
    assert running.metric('heterrec_refused_total{reason="queue"}') > 0
    assert running.metric('heterrec_refused_total{reason="deadline"}') > 0
    assert running.metric("heterrec_queue_length") == 0


def test_a_request_whose_client_left_is_not_computed(slow: Callable[..., Running]) -> None:
    running = slow()
    recommender = running.service.current.live.recommender
    assert isinstance(recommender, StubRecommender)
    before = recommender.encoded
    body = b'{"user": 1}'
    with ThreadPoolExecutor(1) as others:
        busy = others.submit(running.post, "/recommend", {"user": 2})
        time.sleep(0.01)
        with socket.create_connection((running.host, running.port)) as connection:
            connection.sendall(HEAD + b"content-length: 11\r\n\r\n" + body)
            time.sleep(0.01)
        assert busy.result()[0] == 200
    assert running.get("/healthz")[0] == 200
    time.sleep(0.05)
    assert recommender.encoded == before + 1
    assert running.metric('heterrec_requests_total{path="/recommend",status="499"}') == 1


def test_slow_clients_are_cut_off(slow: Callable[..., Running]) -> None:
    running = slow()
    for sent, begins in (
        (b"", b"HTTP/1.1 408"),
        (b"GET / HT", b"HTTP/1.1 408"),
        (HEAD + b"content-length: 20\r\n\r\n{", b""),
    ):
        started = time.monotonic()
        try:
            received = running.raw(sent)
        except ConnectionResetError:
            received = b""
        assert received.startswith(begins)
        assert time.monotonic() - started < 2
    # An idle connection between two requests is left to the keep-alive timeout.
    kept = http.client.HTTPConnection(running.host, running.port)
    for _ in range(2):
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
        address = kept.sock.getsockname()
        time.sleep(0.3)
    assert kept.sock.getsockname() == address
    kept.close()


def test_too_many_connections_are_refused(slow: Callable[..., Running]) -> None:
    running = slow()
    opened = [socket.create_connection((running.host, running.port)) for _ in range(41)]
    refused = opened[-1].recv(65536)
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    for one in opened:
        one.close()
    time.sleep(0.05)
    assert running.get("/healthz")[0] == 200
    assert running.metric('heterrec_refused_total{reason="connections"}') == 1


def test_a_slow_body_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.service.application, "_body_seconds", 0.1)
    received = running.raw(HEAD + b'content-length: 20\r\n\r\n{"us')
    assert received.startswith(b"HTTP/1.1 408")
    assert b"too slow" in received


def test_user_vectors_come_from_the_cache(running: Running) -> None:
    recommender = running.service.current.live.recommender
    assert isinstance(recommender, StubRecommender)
    running.post("/recommend", {"user": 21})
    before = recommender.encoded
    cached = running.metric('heterrec_user_vectors_total{source="cache"}')
    assert running.post("/recommend", {"user": 21, "filter_seen": True})[0] == 200
    assert recommender.encoded == before
    assert running.metric('heterrec_user_vectors_total{source="cache"}') == cached + 1


def test_the_cache_forgets_whom_it_has_not_seen_for_longest() -> None:
    cache = UserVectors(2)
    for user in (1, 2, 1, 3):
        if cache.get(user) is None:
            cache.put(user, KnownUser(None, None))
    assert [cache.get(user) is not None for user in (1, 2, 3)] == [True, False, True]
    nothing = UserVectors(0)
    nothing.put(1, KnownUser(None, None))
    assert nothing.get(1) is None


def test_the_thread_ends_after_what_waits() -> None:
    async def work() -> list[object]:
        compute = Compute(Metrics(), places=3, deadline=5)
        release = threading.Event()
        futures = [asyncio.ensure_future(compute.run(release.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError):
            await compute.run(lambda: None)
        compute.start()
        release.set()
        compute.stop()
        return await asyncio.gather(*futures)

    assert asyncio.run(work()) == [True] * 3


def test_a_service_that_stops_answers_first(bundle: Path) -> None:
    running = run_service(bundle, drain=0.4)
    kept = http.client.HTTPConnection(running.host, running.port)
    kept.connect()
    running.service.stop()
    time.sleep(0.2)
    assert running.get("/readyz") == (503, {"status": "stopping"})
    kept.request("POST", "/recommend", b'{"user": 1}', {"content-type": "application/json"})
    answer = kept.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert answer.read()
    running.thread.join(10)
    assert not running.thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        running.get("/healthz")


def test_an_address_in_use_is_named(running: Running, bundle: Path) -> None:
    with pytest.raises(RunError, match=f"{running.port} cannot be listened on: Address already"):
        HttpService(
            Settings(bundle=bundle, port=running.port), StubRecommender, lambda address: None
        )
