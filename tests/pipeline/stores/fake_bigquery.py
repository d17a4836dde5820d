"""The part of BigQuery's REST API that exports use, on this machine: tables, lists of them, and jobs that extract.

Extracts are written to the emulator of Cloud Storage, in two files.
"""

import io
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage

_TABLES = re.compile(r"/bigquery/v2/projects/([^/]+)/datasets/([^/]+)/tables(?:/([^/]+))?")
_JOBS = re.compile(r"/bigquery/v2/projects/([^/]+)/jobs(?:/([^/]+))?(/cancel)?")
_STATUS = {
    "notFound": 404,
    "accessDenied": 403,
    "invalid": 400,
    "duplicate": 409,
    "backendError": 503,
}
Answer = tuple[int, dict[str, Any]]


@dataclass
class Stored:
    """A table: its rows, and what its description says.

    Attributes:
        rows: its rows now.
        modified: milliseconds since 1970 of the last change.
        kind: its type.
        buffer: number of rows in its streaming buffer; None without one.
        hidden: number of rows that a row access policy hides from exports.
        before: its rows at other times, by milliseconds since 1970.
    """

    rows: pa.Table
    modified: int = 1_700_000_000_000
    kind: str = "TABLE"
    buffer: int | None = None
    hidden: int = 0
    before: dict[int, pa.Table] = field(default_factory=dict)


class FakeBigQuery:
    """The server; its address goes into BIGQUERY_EMULATOR_HOST.

    Attributes:
        tables: by `project.dataset.table`.
        refused: of the requests whose method and path contain a text, the reason and the message of the error.
        job_error: the reason and the message with which jobs fail.
        forgetful: whether answers to started jobs are lost.
        asked: the requests that came: method and path.
        extracts: the configurations of the jobs.
    """

    def __init__(self) -> None:
        self.tables: dict[str, Stored] = {}
        self.refused: dict[str, tuple[str, str]] = {}
        self.job_error: tuple[str, str] | None = None
        self.forgetful = False
        self.asked: list[str] = []
        self.extracts: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        fake = self

        class Handler(_Handler):
            behind = fake

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """The status and the body of the answer to a request."""
        self.asked.append(f"{method} {path}")
        for part, (reason, message) in self.refused.items():
            if part in f"{method} {path}":
                return _error(reason, message)
        if found := _TABLES.fullmatch(path):
            return self._about(*found.groups())
        found = _JOBS.fullmatch(path)
        assert found is not None, path
        if found[3]:
            return 200, {"job": self.jobs[found[2]]}
        return self._begun(body) if method == "POST" else (200, self._ended(found[2]))

    def _about(self, project: str, dataset: str, table: str | None) -> Answer:
        prefix = f"{project}.{dataset}."
        if table is None:
            names = [n for n in self.tables if n.startswith(prefix)]
            if not names:
                return _error("notFound", f"Not found: Dataset {project}:{dataset}")
            return 200, {"tables": [{"tableReference": _reference(n)} for n in names]}
        if prefix + table not in self.tables:
            return _error("notFound", f"Not found: Table {project}:{dataset}.{table}")
        stored = self.tables[prefix + table]
        about = {
            "tableReference": _reference(prefix + table),
            "type": stored.kind,
            "location": "EU",
            "lastModifiedTime": str(stored.modified),
            "numRows": str(len(stored.rows)),
        }
        if stored.buffer is not None:
            about["streamingBuffer"] = {"estimatedRows": str(stored.buffer), "estimatedBytes": "1"}
        return 200, about

    def _begun(self, body: dict[str, Any]) -> Answer:
        name = body["jobReference"]["jobId"]
        if name in self.jobs:
            return _error("duplicate", f"Already Exists: Job {name}")
        extract = body["configuration"]["extract"]
        self.extracts.append(extract)
        self.jobs[name] = body | {"status": {"state": "RUNNING"}}
        if self.job_error is None:
            counts = {"destinationUriFileCounts": [str(self._extract(extract))]}
            self.jobs[name]["statistics"] = {"extract": counts}
        return _error("backendError", "lost") if self.forgetful else (200, self.jobs[name])

    def _extract(self, extract: dict[str, Any]) -> int:
        """Write the rows of a table to two files; returns their number."""
        found = extract["sourceTable"]
        table, _, moment = found["tableId"].partition("@")
        stored = self.tables[f"{found['projectId']}.{found['datasetId']}.{table}"]
        rows = stored.before[int(moment)] if moment else stored.rows
        rows = rows.slice(stored.hidden)
        (uri,) = extract["destinationUris"]
        assert extract["destinationFormat"] == "PARQUET"
        for k, part in enumerate([rows.slice(0, len(rows) // 2), rows.slice(len(rows) // 2)]):
            data = io.BytesIO()
            pq.write_table(part, data, compression=extract["compression"].lower())
            storage.write_bytes(uri.replace("*", f"{k:012d}"), data.getvalue())
        return 2

    def _ended(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = {"state": "DONE"}
        if self.job_error is not None:
            reason, message = self.job_error
            status["errorResult"] = {"reason": reason, "message": message}
        self.jobs[name]["status"] = status
        return self.jobs[name]


def _reference(name: str) -> dict[str, str]:
    project, dataset, table = name.rsplit(".", 2)
    return {"projectId": project, "datasetId": dataset, "tableId": table}


def _error(reason: str, message: str) -> Answer:
    code = _STATUS[reason]
    return code, {"error": {"code": code, "message": message, "errors": [{"reason": reason}]}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: FakeBigQuery

    def _serve(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(size) or b"{}")
        status, answer = self.behind.answer(self.command, unquote(urlsplit(self.path).path), body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _serve

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
