"""Bad requests get one answer with what, got, expected and near, and cost nothing else."""

import json
import random
import socket
import time

import pytest
from running_service import Running

JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("body", "what", "expected", "near"),
    [
        ({"user": 1, "k": 0}, "k", "greater than or equal to 1", None),
        ({"user": 1, "k": 1001}, "k", "less than or equal to 1000", None),
        ({"user": 1, "k": "3"}, "k", "integer", None),
        ({"user": 1, "k": True}, "k", "integer", None),
        ({"user": 1, "k": 1e3}, "k", "integer", None),
        ({"user": 1.0}, "user", "integer, or a valid string", None),
        ({"user": None}, "body", "exactly one of user, users, history: got none", None),
        ({"user": 1, "users": [2]}, "body", "got user and users", None),
        ({"users": list(range(17))}, "users", "at most 16 items", None),
        ({"user": 2**63}, "user", "less than", None),
        ({"user": 1, "filter_sen": True}, "filter_sen", "no such field", "'filter_seen'"),
        ({"user": 1, "allow": ["i2x"]}, "allow: there is no item 'i2x'", None, "'i2'"),
        ({"user": 1, "where": {"color": "red"}}, "no feature 'color'", None, "'colour'"),
        ({"user": 1, "where": {"colour": "rad"}}, "'rad' as colour", None, "red"),
        ({"history": {"items": ["i1"], "times": []}}, "history", "as many times as items", None),
        ({"history": {"items": ["i1"], "times": ["x"]}}, "history.times", "milliseconds", None),
        ({"history": {"items": ["i1"] * 1001}}, "history.items", "at most 1000 items", None),
    ],
)
def test_a_wrong_field_is_named(
    running: Running, body: dict, what: str, expected: str | None, near: str | None
) -> None:
    status, reply = running.post("/recommend", body)
    assert status == 422
    problem = reply["errors"][0]
    assert what in problem["what"]
    assert expected is None or expected in problem["expected"]
    assert near is None or near in problem["near"]


def test_all_wrong_fields_are_named_together(running: Running) -> None:
    _, reply = running.post("/recommend", {"user": 1, "k": 0, "deny": [[]], "words": 1})
    assert [e["what"] for e in reply["errors"]] == ["k", "deny.0", "words"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"user": 1, "user": 2}', "no JSON"),
        (b'{"user": NaN}', "no JSON"),
        (b'{"user": Infinity}', "no JSON"),
        (b'{"user": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"user": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"user": "\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"user": ' + b"[" * 30_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(running: Running, body: bytes, what: str) -> None:
    status, reply = running.post("/recommend", body)
    assert status == 400
    assert what in reply["errors"][0]["what"]


def test_types_sizes_paths_and_methods(running: Running) -> None:
    body = b'{"user": 1}'
    form = "application/x-www-form-urlencoded"
    cases = [
        (400, running.send("POST", "/recommend", body, content_type=form)),
        (400, running.send("POST", "/recommend", body)),
        (400, running.send("POST", "/recommend", body, content_encoding="gzip", **JSON)),
        (413, running.send("POST", "/recommend", b" " * 65_537, **JSON)),
        (404, running.send("GET", "/recommendations")),
        (404, running.send("GET", "/../etc/passwd")),
        (405, running.send("GET", "/recommend")),
        (405, running.send("DELETE", "/similar")),
        (405, running.send("POST", "/healthz", body, **JSON)),
    ]
    for wanted, (status, headers, text) in cases:
        assert status == wanted
        assert headers["content-type"] == "application/json"
        assert json.loads(text)["errors"][0]["what"]
    assert running.send("POST", "/recommend", body + b" " * 65_000, **JSON)[0] == 200


def test_a_large_body_in_chunks_is_refused(running: Running) -> None:
    head = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    sent = (
        head + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + chunk * 5 + b"0\r\n\r\n"
    )
    assert running.raw(sent).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}",
        b"POST /recommend HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"a" * 300_000,
        b"POST /recommend HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(running: Running, sent: bytes) -> None:
    try:
        received = running.raw(sent)
    except ConnectionResetError:  # the rest of the request was not read
        return
    assert received.startswith(b"HTTP/1.1 400 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["errors"]


def test_random_bodies_never_fail(running: Running) -> None:
    draw = random.Random(0)
    fields = ["user", "users", "history", "items", "k", "allow", "deny", "where", "words", "x", ""]
    values = [None, True, -1, 2**70, 0.5, "", "i1", "é\0", [], ["i1"], [[]], {}, {"a": {}}, [None]]
    for path in ("/recommend", "/similar", "/vectors"):
        for _ in range(60):
            body = {draw.choice(fields): draw.choice(values) for _ in range(draw.randrange(4))}
            assert running.post(path, body)[0] in (200, 422)


def test_a_client_that_leaves_is_no_failure(running: Running) -> None:
    sent = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n"
    for part in (sent, sent + b'{"user":', sent + b'{"user": 1}'):
        with socket.create_connection((running.host, running.port)) as connection:
            connection.sendall(part)
    time.sleep(0.05)
    assert running.get("/healthz")[0] == 200
    assert running.metric('heterrec_requests_total{path="/recommend",status="500"}') == 0
