"""Stand-ins on 127.0.0.1: a bucket, and Dataflow's service, which records its requests and can run a staged job."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

BUCKET = "bucket"
PROJECT, REGION = "some-project", "europe-west1"
JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
JOB_ID = "2026-11-22_00_00_00-1"
Body = dict[str, Any]


@dataclass
class Bucket:
    """The emulated bucket."""

    handle: Any

    def names(self, prefix: str = "") -> list[str]:
        """The sorted names of its objects below a prefix."""
        return sorted(blob.name for blob in self.handle.list_blobs(prefix=prefix))

    def read(self, name: str) -> bytes:
        data: bytes = self.handle.blob(name).download_as_bytes()
        return data

    def put(self, folder: Path, prefix: str) -> None:
        """Copy the files of a folder."""
        for path in sorted(folder.iterdir()):
            self.handle.blob(f"{prefix}/{path.name}").upload_from_filename(str(path))

    def empty(self, prefix: str) -> None:
        for name in self.names(prefix):
            self.handle.blob(name).delete()


@dataclass
class Service:
    """The jobs endpoint: records requests and answers as the service would.

    Attributes:
        work: what running a job means; it raises to let the job fail. None: the job runs until it is cancelled.
    """

    work: Callable[[Body], None] | None = None
    job: Body = field(default_factory=dict)
    state: str = "JOB_STATE_PENDING"
    messages: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    url: str = ""

    def create(self, body: Body) -> Body:
        self.job, self.state = body, "JOB_STATE_RUNNING"
        if self.work is not None:
            threading.Thread(target=self._run, args=(self.work,), daemon=True).start()
        return {**self.get(), "clientRequestId": body["clientRequestId"]}

    def _run(self, work: Callable[[Body], None]) -> None:
        try:
            work(self.job)
        except Exception as error:
            self.messages += ["The job is not healthy.", f"Traceback (of a worker): {error}"]
            self.state = "JOB_STATE_FAILED"
        else:
            self.state = "JOB_STATE_DONE"

    def get(self) -> Body:
        return {"id": JOB_ID, "projectId": PROJECT, "currentState": self.state}

    def update(self, body: Body) -> Body:
        from google.cloud.dataflow_v1beta3 import JobState

        self.state = JobState(body["requestedState"]).name  # enums come as numbers
        self.requested.append(self.state)
        return self.get()

    def listed(self) -> Body:
        return {
            "jobMessages": [
                {
                    "id": str(k),
                    "time": "2026-11-22T00:00:00Z",
                    "messageText": text,
                    "messageImportance": "JOB_MESSAGE_ERROR",
                }
                for k, text in enumerate(self.messages)
            ]
        }


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Let a service answer on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: Body) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def body(self) -> Body:
            read: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return read

        def do_POST(self) -> None:
            assert self.path.split("?")[0] == JOBS, self.path
            self.answer(service.create(self.body()))

        def do_PUT(self) -> None:
            self.answer(service.update(self.body()))

        def do_GET(self) -> None:
            messages = re.search("/messages($|[?])", self.path)
            self.answer(service.listed() if messages else service.get())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.url = f"http://localhost:{server.server_port}"  # Beam speaks REST to localhost only
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def options_of(job: Body) -> Body:
    """The pipeline options of the job's workers."""
    found: Body = job["environment"]["sdkPipelineOptions"]["options"]
    return found


def run_here(graph: bytes, beam_options: Any) -> None:
    """Run a staged graph on the local engine, in this process instead of a container."""
    pipeline = beam_runner_api_pb2.Pipeline.FromString(graph)
    for environment in pipeline.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, beam_options).wait_until_finish()
