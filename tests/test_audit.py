"""`make audit` against a service that answers as the Python package index and as OSV."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, ClassVar

import pytest
from dependency_programs import dependency_program

pytest.importorskip("pip_audit", reason="needs pip-audit: make env")

ROOT = Path(__file__).resolve().parents[1]
HASH = "--hash=sha256:" + "0" * 64
LOCK = f"""\
# A comment.
apple==1.0 \\
    {HASH} \\
    {HASH}
pear.tart==2.0 ; python_full_version < '3.12' \\
    {HASH}
pear.tart==3.0 ; python_full_version >= '3.12' and sys_platform != 'any-other' \\
    {HASH}
quince==4.0 ; sys_platform == 'win32' \\
    {HASH}
"""
SMALL = f"apple==1.0 {HASH}\nquince==4.0 {HASH}\n"
ENTRY = """\
[[exception]]
id = "{id}"
package = "{package}"
reason = "{reason}"
review = {review}
"""
REDIRECT = """\
import os, re, requests

request = requests.Session.request


def redirected(self, method, url, **rest):
    return request(self, method, re.sub("^https://[^/]+", os.environ["SERVICE"], url), **rest)


requests.Session.request = redirected
"""


Judged = Callable[..., tuple[int, str]]


@dataclass
class Service:
    """What is known, by package and version; packages in `unknown` are answered with 404, as are all if it is None."""

    address: str
    vulnerable: dict[tuple[str, str], str] = field(default_factory=dict)
    unknown: set[str] | None = field(default_factory=set)
    asked: set[tuple[str, str]] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    service: ClassVar[Service]

    def do_GET(self) -> None:
        name, version = self.path.split("/")[2:4]
        known = self.service.unknown is not None and name not in self.service.unknown
        found = [
            {"id": one, "aliases": ["CVE-2026-1"], "fixed_in": ["9.1"], "summary": "Bad."}
            for one in self.known(name, version)
        ]
        self.answer(200 if known else 404, {"vulnerabilities": found})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = [
            {"id": one, "summary": "Bad.", "affected": [self.affected(body["package"]["name"])]}
            for one in self.known(body["package"]["name"], body["version"])
        ]
        self.answer(200, {"vulns": found} if found else {})

    def known(self, name: str, version: str) -> list[str]:
        self.service.asked.add((name, version))
        one = self.service.vulnerable.get((name, version))
        return [one] if one else []

    def affected(self, name: str) -> dict[str, Any]:
        events = [{"introduced": "0"}, {"fixed": "9.1"}]
        package = {"name": name, "ecosystem": "PyPI"}
        return {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}

    def answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.service = Service(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield Handler.service
    server.shutdown()
    thread.join()
    server.server_close()


def audit(
    folder: Path, address: str, exceptions: str = "", lock: str = LOCK, *arguments: str
) -> tuple[int, str]:
    """Exit code and output of the audit."""
    for name, text in (
        ("requirements.lock", lock),
        ("exceptions.toml", exceptions),
        ("sitecustomize.py", REDIRECT),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "dependencies" / "audit.py"),
            *("--lock", folder / "requirements.lock"),
            *("--exceptions", folder / "exceptions.toml"),
            *arguments,
        ],
        env=os.environ
        | {
            "PYTHONPATH": str(folder),
            "SERVICE": address,
            "no_proxy": "*",
            "PIP_CACHE_DIR": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def entry(**changed: str) -> str:
    values = {"id": "PYSEC-1", "package": "Pear_Tart", "reason": "Unused.", "review": "2999-01-31"}
    return ENTRY.format(**(values | changed))


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return dependency_program("audit")


@pytest.fixture
def judged(
    tmp_path: Path,
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Judged:
    """Exit code and output for given exceptions, with or without a vulnerability of pear-tart 3.0."""

    def judge(exceptions: str, *, vulnerable: bool = True, lock: str = LOCK) -> tuple[int, str]:
        one = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": []}
        found = [("pear-tart", "3.0", one)] if vulnerable else []
        result = program.Audit(found=found, audited={"apple", "pear-tart", "quince"})
        (tmp_path / "lock").write_text(lock, encoding="utf-8")
        (tmp_path / "exceptions").write_text(exceptions, encoding="utf-8")
        words = ["audit.py", f"--lock={tmp_path}/lock", f"--exceptions={tmp_path}/exceptions"]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(program, "run_pip_audit", lambda *_: result)
        code = program.main()
        return code, capsys.readouterr().out

    return judge


@pytest.mark.slow
def test_every_version_of_every_platform_is_looked_up(tmp_path: Path, service: Service) -> None:
    code, output = audit(tmp_path, service.address)
    assert (code, output) == (0, "audit: 3 packages have no known vulnerabilities\n")
    versions = {("apple", "1.0"), ("pear-tart", "2.0"), ("pear-tart", "3.0"), ("quince", "4.0")}
    assert service.asked == versions


@pytest.mark.slow
def test_a_vulnerability_is_found(tmp_path: Path, service: Service) -> None:
    service.vulnerable["pear-tart", "3.0"] = "PYSEC-1"
    service.unknown = {"quince"}
    code, output = audit(tmp_path, service.address)
    assert code == 1
    assert "pear-tart 3.0: PYSEC-1, CVE-2026-1, fixed in 9.1\n" in output
    assert "the service does not know quince\n" in output
    assert 'make lock LOCK_ARGS="--upgrade-package NAME"' in output
    assert "dependencies/exceptions.toml" in output


@pytest.mark.slow
def test_osv_can_be_asked(tmp_path: Path, service: Service) -> None:
    service.vulnerable["apple", "1.0"] = "GHSA-2"
    osv = ("--service=osv", f"--osv-url={service.address}/v1/query")
    code, output = audit(tmp_path, service.address, "", SMALL, *osv)
    assert code == 1
    assert "apple 1.0: GHSA-2, fixed in 9.1\n" in output


@pytest.mark.slow
def test_an_unreachable_service_is_not_a_clean_result(tmp_path: Path) -> None:
    code, output = audit(tmp_path, "http://127.0.0.1:9", lock=SMALL)
    assert code == 3
    assert output.startswith("audit: not audited: requests.exceptions.ConnectionError")


@pytest.mark.slow
def test_a_service_that_knows_nothing_is_not_a_clean_result(
    tmp_path: Path, service: Service
) -> None:
    service.unknown = None
    code, output = audit(tmp_path, service.address, lock=SMALL)
    assert (code, output) == (3, "audit: not audited: the service knows none of the 2 packages\n")


def test_a_slow_service_is_given_up(tmp_path: Path, service: Service) -> None:
    code, output = audit(tmp_path, service.address, "", LOCK, "--seconds=0.01")
    assert (code, output) == (3, "audit: not audited: no complete answer in 0.01 s\n")


@pytest.mark.slow
def test_an_unknown_package_is_named(tmp_path: Path, service: Service) -> None:
    service.unknown = {"quince"}
    code, output = audit(tmp_path, service.address, lock=SMALL)
    assert code == 3
    assert output == "audit: not completely audited: the service does not know quince\n"


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-2026-1"])
def test_an_exception_accepts_it_by_id_or_alias(judged: Judged, name: str) -> None:
    expected = "audit: 3 packages have no known vulnerabilities without exception, 1 with\n"
    assert judged(entry(id=name)) == (0, expected)


def test_an_exception_is_of_one_package(judged: Judged) -> None:
    code, output = judged(entry(package="apple"))
    assert code == 1
    assert "pear-tart 3.0: PYSEC-1, CVE-2026-1, fixed in no version yet\n" in output


def test_an_expired_exception_does_not_count(judged: Judged) -> None:
    expired = entry(review="2026-01-31")
    for vulnerable, expected in ((True, 1), (False, 2)):
        code, output = judged(expired, vulnerable=vulnerable)
        assert code == expected
        assert "exception PYSEC-1 of pear-tart: expired on 2026-01-31; review it" in output


def test_an_exception_that_is_not_needed_is_named(judged: Judged) -> None:
    code, output = judged(entry(), vulnerable=False)
    assert code == 0
    assert "warning: exception PYSEC-1 of pear-tart is not reported any more" in output
    code, output = judged(entry(package="plum"), vulnerable=False)
    assert code == 2
    assert "exception PYSEC-1 of plum: its package is not in the lock" in output


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [
        (entry(reason=" "), "exception 1: reason: got ' ', expected a text"),
        (entry() + 'owner = "me"', "exception 1: unknown key 'owner'"),
        (entry(review='"soon"'), "exception 1: review: got 'soon', expected a date"),
        ('[[exception]]\nid = "A"', "exception 1: reason: got None, expected a text"),
        ("[[exceptions]]", "unknown key 'exceptions'"),
        ("exception = [1]", "exception 1: got 1, expected a table"),
        ("[exception]", "exception: got {}, expected [[exception]]"),
        ("id: A", "exceptions: "),
    ],
)
def test_malformed_exceptions_are_refused(judged: Judged, exceptions: str, expected: str) -> None:
    code, output = judged(exceptions)
    assert code == 2
    assert expected in output


def test_a_lock_without_hashes_is_refused(judged: Judged) -> None:
    code, output = judged("", lock="apple==1.0\n")
    assert code == 2
    assert "expected NAME==VERSION with hashes, got 'apple==1.0'" in output


def test_the_exceptions_and_the_lock_are_well_formed(program: ModuleType) -> None:
    program.read_exceptions(ROOT / "dependencies" / "exceptions.toml")
    assert len(program.read_lock(ROOT / "requirements.lock")) > 200
