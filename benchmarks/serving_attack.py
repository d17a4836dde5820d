"""Attack a service: bad requests, slow and broken clients, reloads and SIGTERM under load.

    python benchmarks/serving_attack.py --bundle A --other B

A and B are bundles of one generation whose answers differ, such as the exports of two checkpoints. Exits with 1 if anything
other than the stated outcome happens.
"""

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

from serving_client import Server

from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.service.reload import write_pointer

CLIENTS = 32
RELOADS = 20
HEAD = "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
failures: list[str] = []


def check(holds: bool, what: str) -> None:
    """Note what does not hold."""
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}")


def bad_requests(users: list[Any], items: list[Any]) -> Iterator[tuple[str, bytes]]:
    """200 and more requests, by the kind of their mistake."""
    user, item = users[0], items[0]
    for body in _bad_bodies(user, item):
        for path in ("/recommend", "/similar", "/vectors"):
            yield "body", _post(path, body)
    text = json.dumps({"user": user}).encode()
    yield "large", _post("/recommend", text + b" " * 70_000)
    yield "large", _post("/recommend", text, length=10**12)
    yield "large", _post("/recommend", text, length=10**30)
    chunks = b"fff0\r\n" + b" " * 0xFFF0 + b"\r\n"
    yield "large", _post("/recommend", chunks * 4 + b"0\r\n\r\n", chunked=True)
    yield "length", _post("/recommend", text, length=3)
    for line in (b"content-length: -5", b"content-length: 1e3", b"content-length: 5, 6"):
        yield "smuggling", b"POST /recommend HTTP/1.1\r\nhost: x\r\n" + line + b"\r\n\r\n" + text
    for extra in (
        b"content-length: 4\r\ncontent-length: 5",
        b"content-length: 4\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked, identity",
        b"transfer-encoding: xchunked",
        b"transfer-encoding : chunked",
        b" transfer-encoding: chunked",
    ):
        smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
        yield (
            "smuggling",
            b"POST /recommend HTTP/1.1\r\nhost: x\r\n" + extra + b"\r\n\r\n" + smuggled,
        )
    for line in (
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET  /  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /" + b"a" * 15_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 2_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"a" * 400_000,
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: yes\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad\x00name: yes\r\n\r\n",
    ):
        yield "http", line
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 200):
        yield "method", f"{method} /recommend HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    for kind in ("text/plain", "application/json2", "multipart/form-data", "", "\xff"):
        head = f"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(text)}"
        yield "type", head.encode("latin-1") + b"\r\n\r\n" + text
    draw = random.Random(0)
    good = _post("/recommend", text)
    for _ in range(40):
        broken = bytearray(good)
        for _ in range(draw.randrange(1, 6)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        yield "noise", bytes(broken)
    for _ in range(20):
        yield "half", good[: draw.randrange(1, len(good))]


def _bad_bodies(user: Any, item: Any) -> Iterator[bytes]:
    yield from (b"", b" ", b"{", b"}", b"null", b"[]", b'"x"', b"1", b"{}" * 2, b"{'user': 1}")
    yield from (b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'{"user": "\xc3"}', b'{"user": 1,}')
    yield from (b"[" * 60_000, b'{"a":' * 10_000, b'{"user": NaN}', b'{"k": Infinity, "user": 1}')
    yield from (b'{"user": ' + b"9" * 60_000 + b"}", b'{"user": 1e999}', b'{"user": -0.0}')
    yield from (
        b'{"user": 1, "user": 2}',
        b'{"user": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"user": "\\u0000"}',
    )
    bodies: list[Any] = [
        {"user": user, "k": k}
        for k in (0, -1, 1001, 2**31, 2**63, 2**64, 1.5, "1", True, None, [1], {})
    ]
    bodies += [{"user": u} for u in (True, 1.5, None, [], {}, "", "x" * 2_000, 2**63, -(2**63) - 1)]
    bodies += [
        {"users": []},
        {"users": [user] * 17},
        {"user": user, "users": [user]},
        {"items": [item] * 300},
        {"items": [[item]]},
        {"user": user, "allow": ["no such item"]},
        {"user": user, "deny": [{}]},
        {"user": user, "deny": list(range(9_000))},
        {"user": user, "where": []},
        {"user": user, "where": {"no such feature": "x"}},
        {"user": user, "where": {"": {"$gt": ""}}},
        {"user": user, "where": {"__class__": "x"}},
        {"history": {}},
        {"history": {"items": item}},
        {"history": {"items": [item], "times": ["yesterday"]}},
        {"history": {"items": [item, item], "times": [2**62, 1]}},
        {"history": {"items": [item], "times": [-(2**63)]}},
        {"history": {"items": [item], "times": ["9999-12-31T23:59:59+14:00"]}},
        {"history": {"items": [item], "behaviours": ["no such behaviour"]}},
        {"history": {"items": [item], "user_features": {"no such feature": 1}}},
        {"history": {"items": [item] * 1_001}},
        {
            "history": {
                "items": ["\u202e", "'; drop table items; --", "<script>", "${jndi:x}", "\0"]
            }
        },
    ]
    yield from (json.dumps(body).encode() for body in bodies)


def _post(path: str, body: bytes, *, length: int | None = None, chunked: bool = False) -> bytes:
    size = "transfer-encoding: chunked" if chunked else f"content-length: {length or len(body)}"
    return f"{HEAD.format(path)}{size}\r\n\r\n".encode() + body


def status_of(server: Server, sent: bytes) -> int:
    """Status of the answer to some bytes; 0 if the connection is closed without one."""
    received = b""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        try:
            connection.sendall(sent)
            received = connection.recv(65_536)
        except (ConnectionError, TimeoutError):
            pass
    return int(received[9:12]) if received.startswith(b"HTTP/1.1 ") else 0


def attack_with_bad_requests(server: Server, users: list[Any], items: list[Any]) -> None:
    """Nothing but 4xx, 503 and closed connections; the harmless ones among them may get 200."""
    requests = list(bad_requests(users, items))
    before = server.megabytes()
    seen: Counter[tuple[str, int]] = Counter()
    with ThreadPoolExecutor(16) as clients:
        for kind, status in clients.map(
            lambda pair: (pair[0], status_of(server, pair[1])), requests
        ):
            seen[kind, status] += 1
    print(f"{len(requests)} bad requests: {dict(sorted(seen.items()))}")
    wrong = {key: n for key, n in seen.items() if key[1] >= 500 and key[1] != 503}
    check(not wrong, f"answers of 5xx other than 503: {wrong}")
    check(server.process.poll() is None, "the service lives")
    print(f"memory {before:.0f} -> {server.megabytes():.0f} MB")
    check(server.megabytes() < before + 100, "memory is bounded")


def attack_with_slow_clients(server: Server, users: list[Any]) -> None:
    """400 clients that send a byte a second, 300 that leave, 100 that never read; others are answered."""
    head = HEAD.format("/recommend").encode()
    body = json.dumps({"user": users[0], "k": 1000}).encode()
    whole = head + f"content-length: {len(body)}\r\n\r\n".encode() + body
    before = server.megabytes()
    slow = [socket.create_connection((server.host, server.port)) for _ in range(400)]
    for number, one in enumerate(slow):
        one.sendall(whole[: 5 if number % 2 else len(whole) - 5])
    for _ in range(300):
        with socket.create_connection((server.host, server.port)) as one:
            one.sendall(whole)
    deaf = [socket.create_connection((server.host, server.port)) for _ in range(100)]
    for one in deaf:
        one.sendall(whole * 20)
    statuses: Counter[int] = Counter()
    started = time.monotonic()
    client = server.client()
    longest = 0.0
    while time.monotonic() - started < 8:
        begun = time.monotonic()
        statuses[client.post("/recommend", {"user": users[1]})[0]] += 1
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.05)
    print(f"beside slow clients: {dict(statuses)}, longest {longest * 1000:.0f} ms")
    check(set(statuses) <= {200, 503}, "answers of 200 and 503 only")
    time.sleep(9)
    open_now = sum(_is_open(one) for one in slow)
    check(open_now == 0, f"slow clients are cut off after 15 s: {open_now} are not")
    print(f"memory {before:.0f} -> {server.megabytes():.0f} MB")
    check(server.megabytes() < before + 100, "memory is bounded")
    for one in slow + deaf:
        one.close()


def _is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def attack_with_reloads(
    server: Server, pointer: Path, bundles: list[Path], users: list[Any]
) -> None:
    """20 reloads under 32 clients, about 100 requests a second: every answer is that of the bundle it names."""
    wanted = {}
    for bundle in bundles:
        recommender = BundleRecommender.open(bundle)
        for user in users:
            [answer] = recommender.recommend([user], k=20)
            wanted[recommender.identity.fingerprint, user] = answer.item_ids
    stop = threading.Event()
    statuses: Counter[int] = Counter()
    mixed = 0
    named: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        nonlocal mixed
        client, draw = server.client(), random.Random(number)
        while not stop.is_set():
            user = draw.choice(users)
            status, reply = client.post("/recommend", {"user": user, "k": 20})
            with lock:
                statuses[status] += 1
                if status == 200:
                    found = [item["item_id"] for item in reply["answers"][0]["items"]]
                    named[reply["fingerprint"][:8]] += 1
                    mixed += not alike(found, wanted[reply["fingerprint"], user])
            time.sleep(0.5 * draw.random())

    with ThreadPoolExecutor(CLIENTS) as clients:
        asking = [clients.submit(ask, number) for number in range(CLIENTS)]
        for number in range(RELOADS):
            write_pointer(bundles[(number + 1) % 2], pointer)
            deadline = time.monotonic() + 60
            name = 'heterrec_reloads_total{outcome="loaded"}'
            while server.metric(name) <= number and time.monotonic() < deadline:
                time.sleep(0.1)
        stop.set()
        for one in asking:
            one.result()
    print(f"{RELOADS} reloads: {dict(statuses)}, by bundle {dict(named)}, mixed {mixed}")
    check(set(statuses) == {200}, "every request during reloads is answered")
    check(mixed == 0, "no answer is mixed of two bundles")
    check(
        server.metric('heterrec_reloads_total{outcome="loaded"}') == RELOADS,
        "every bundle is loaded",
    )
    check(server.metric('heterrec_reloads_total{outcome="refused"}') == 0, "no bundle is refused")


def alike(found: list[Any], wanted: list[Any]) -> bool:
    """Whether two lists agree but for neighbours of nearly equal score."""
    return len(set(found) & set(wanted)) >= len(wanted) - 1


def attack_with_sigterm(server: Server, users: list[Any]) -> None:
    """SIGTERM under 32 clients: every request that was sent is answered."""
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        draw = random.Random(number)
        client = server.client()
        while True:
            try:
                if not client.connected:
                    client.connect()
            except OSError:
                return  # the service has ended
            try:
                status, _ = client.post("/recommend", {"user": draw.choice(users)})
                word = str(status)
            except (OSError, HTTPException) as error:
                word = f"dropped: {type(error).__name__}"
                client.close()
            with lock:
                outcomes[word] += 1

    with ThreadPoolExecutor(CLIENTS) as clients:
        asking = [clients.submit(ask, number) for number in range(CLIENTS)]
        time.sleep(2)
        server.process.terminate()
        code = server.process.wait(30)
        for one in asking:
            one.result()
    print(f"SIGTERM under load: {dict(outcomes)}, exit code {code}")
    check(code == 0, "the service ends with 0")
    check(not [word for word in outcomes if word not in ("200", "503")], "SIGTERM drops nothing")


def main() -> int:
    """Run all attacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    arguments = parser.parse_args()
    bundles = [arguments.bundle, arguments.other]
    with tempfile.TemporaryDirectory() as folder:
        pointer = Path(folder) / "current.json"
        write_pointer(bundles[0], pointer)
        with Server(pointer) as server:
            reply = server.client().call("GET", "/examples")[1]
            examples = json.loads(reply)
            users = examples["users"]
            items = [item["item_id"] for item in examples["items"]]
            attack_with_bad_requests(server, users, items)
            attack_with_slow_clients(server, users)
            attack_with_reloads(server, pointer, bundles, users)
            attack_with_sigterm(server, users)
    print("all held" if not failures else f"{len(failures)} did not hold: {failures}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
