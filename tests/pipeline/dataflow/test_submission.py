"""Whole calls against the stand-ins: refused, staged, submitted, polled, cancelled."""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from io import BytesIO
from typing import Any, NamedTuple

import pytest
import yaml
from corner_shop import Shop
from stand_ins import BUCKET, JOB_ID, Body, Bucket, Service, options_of, run_here

pytestmark = [pytest.mark.dataflow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
SECRET = "a-key-that-stays-in-the-environment"
WHERE = [
    "--spec",
    f"gs://{BUCKET}/specs/spec.yaml",
    "--input",
    f"gs://{BUCKET}/shop",
    "--output",
    f"gs://{BUCKET}/out",
]


class Done(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: str) -> Done:
    """Run the command line in this process, where Beam's credentials are disabled."""
    from typer.testing import CliRunner

    from heterrec_pipeline.commands import app

    done = CliRunner().invoke(app, ["build", *WHERE, *arguments])
    return Done(done.exit_code, done.stdout, done.stderr)


def work_on(bucket: Bucket) -> Callable[[Body], None]:
    """Run a job as staged, with the options of its workers."""
    from apache_beam.options.pipeline_options import PipelineOptions

    def work(job: Body) -> None:
        options = options_of(job)
        graph = bucket.read(options["pipelineUrl"].removeprefix(f"gs://{BUCKET}/"))
        assert hashlib.sha256(graph).hexdigest() == options["pipelineProtoHash"]
        run_here(graph, PipelineOptions(["--no_auth"]))

    return work


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heterrec_pipeline.building.dataflow.POLL_SECONDS", 0.05)


def staged(bucket: Bucket) -> list[str]:
    return [name.rpartition("/")[2] for name in bucket.names("tmp/")]


def generation_in(bucket: Bucket) -> str:
    (found,) = {name.split("/")[2] for name in bucket.names("out/generations/")}
    return found


def test_a_dry_run_validates_and_leaves_no_trace(
    bucket: Bucket, service: Service, flags: list[str]
) -> None:
    before = bucket.names()
    done = call("--", *flags, "--dry_run=True")
    assert done.code == 0, done.err
    assert re.search(r"The graph is valid: \d+ steps. Nothing was staged", done.out)
    assert (bucket.names(), service.job) == (before, {})


def test_what_is_staged_and_submitted(
    bucket: Bucket, service: Service, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    done = call("--no-wait", "--json", "--", *flags)
    assert done.code == 0, done.err
    generation = generation_in(bucket)
    said = json.loads(done.out)
    assert said["job"] == JOB_ID
    assert said["url"].endswith(f"/europe-west1/{JOB_ID}?project=some-project")
    assert said["manifest"] == f"gs://{BUCKET}/out/generations/{generation}/manifest.json"
    wheel = f"heterrec-{version('heterrec')}-py3-none-any.whl"
    assert staged(bucket) == ["extra_packages.txt", wheel, "pipeline.pb"]
    contents = {name.rpartition("/")[2]: bucket.read(name) for name in bucket.names("tmp/")}
    modules = zipfile.ZipFile(BytesIO(contents[wheel]))
    assert "heterrec_pipeline/flow.py" in modules.namelist()
    contents |= {name: modules.read(name) for name in modules.namelist()}
    contents["job"] = json.dumps(service.job).encode()
    assert [name for name, data in contents.items() if SECRET.encode() in data] == []
    job = service.job
    assert job["name"] == f"heterrec-corner-shop-{generation.lower()}"
    assert job["labels"]["heterrec-spec"] == "corner-shop"
    (pool,) = job["environment"]["workerPools"]
    assert (pool["machineType"], pool["numThreadsPerWorker"]) == ("n2-standard-4", 2)
    assert pool["autoscalingSettings"] == {"maxNumWorkers": 16}
    assert pool["workerHarnessContainerImage"].startswith("gcr.io/cloud-dataflow/")
    assert "use_runner_v2" in job["environment"]["experiments"]
    assert_lease_outlives_the_command(bucket, generation)


def assert_lease_outlives_the_command(bucket: Bucket, generation: str) -> None:
    """The job's folder does not count as a dead build's because this process has ended."""
    from heterrec_pipeline.publishing import lease

    held = json.loads(bucket.read(f"out/generations/{generation}/building.json"))
    assert held["host"].startswith("dataflow some-project europe-west1 heterrec-corner-shop-")
    output, now = f"gs://{BUCKET}/out", datetime.now(UTC)
    longest = timedelta(days=13)  # more than Dataflow lets a batch job run
    assert [lease.sweep(output, t) for t in (now, now + longest)] == [[], []]
    assert lease.sweep(output, now + 2 * lease.DEAD_AFTER) == [generation]


def test_with_an_image_only_the_graph_is_staged(
    bucket: Bucket, service: Service, flags: list[str]
) -> None:
    image = "europe-docker.pkg.dev/some-project/heterrec/worker:0.1.0"
    done = call("--no-wait", "--", *flags, f"--sdk_container_image={image}")
    assert done.code == 0, done.err
    assert staged(bucket) == ["pipeline.pb"]
    (pool,) = service.job["environment"]["workerPools"]
    assert [c["containerImage"] for c in pool["sdkHarnessContainerImages"]] == [image]


def test_the_staged_job_publishes_the_bytes_of_a_local_build(
    bucket: Bucket, service: Service, flags: list[str], built_shop: Shop
) -> None:
    service.work = work_on(bucket)
    done = call("--json", "--", *flags)
    assert done.code == 0, done.err
    assert JOB_ID in done.err
    manifest = json.loads(done.out.splitlines()[-1])["manifest"]
    assert manifest["content_sha256"] == built_shop.manifest()["content_sha256"]
    assert json.loads(bucket.read("out/latest.json")) == {"generation": generation_in(bucket)}
    rest = [n for n in bucket.names("out/") if n.endswith((".tmp", "building.json"))]
    assert rest == []


def test_an_error_of_the_data_crosses_the_service(
    bucket: Bucket, service: Service, flags: list[str]
) -> None:
    log = bucket.read("shop/log.csv").splitlines()[0]
    bucket.handle.blob("shop/log.csv").upload_from_string(log + b"\n")
    service.work = work_on(bucket)
    done = call("--", *flags)
    assert done.code == 2
    assert "error: interactions: the log is empty" in done.err
    assert bucket.names("out/") == []


def test_a_job_that_fails_says_its_last_words(
    bucket: Bucket, service: Service, flags: list[str]
) -> None:
    def work(_: Body) -> None:
        raise OSError("a worker ran out of memory")

    service.work = work
    done = call("--", *flags)
    assert done.code == 1
    words = f"{JOB_ID} ended as failed: Traceback (of a worker): a worker ran out of memory"
    assert words in done.err
    assert "Nothing was published" in done.err
    assert bucket.names("out/") == []


def test_stopping_the_command_cancels_the_job(
    bucket: Bucket, service: Service, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heterrec_pipeline.building import dataflow as submission

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submission.time, "sleep", interrupted)
    done = call("--", *flags)
    assert done.code == 1
    assert f"stopped; the Dataflow job {JOB_ID} was cancelled" in done.err
    assert service.requested == ["JOB_STATE_CANCELLED"]
    assert bucket.names("out/") == []


def test_what_a_running_job_writes_to_is_never_deleted(
    bucket: Bucket, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the job cannot be cancelled, nor when its state cannot be read."""
    from heterrec_pipeline.building import dataflow as submission

    def unreachable(*_: Any) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(
        "apache_beam.runners.dataflow.dataflow_runner.DataflowPipelineResult._update_job",
        unreachable,
    )
    done = call("--", *flags)
    assert done.code == 1
    assert f"{JOB_ID} can no longer be polled: no network. It may continue" in done.err
    folder = f"out/generations/{generation_in(bucket)}/"
    assert bucket.names(folder) == [f"{folder}building.json"]
    monkeypatch.setattr(submission.Submission, "_poll", _stop)
    done = call("--", *flags)
    assert done.code == 1
    assert f"the Dataflow job {JOB_ID} is not known to have ended. Cancel it at http" in done.err
    assert len(bucket.names("out/generations/")) == 2


def _stop(*_: Any) -> str:
    raise KeyboardInterrupt


def test_a_template_gets_the_jobs_description(
    bucket: Bucket, service: Service, flags: list[str]
) -> None:
    """The launcher creates the job; this command must not."""
    done = call("--", *flags, f"--template_location=gs://{BUCKET}/templates/job")
    assert done.code == 0, done.err
    assert f"was written to gs://{BUCKET}/templates/job" in done.out
    written = json.loads(bucket.read("templates/job"))
    assert written["name"].startswith("heterrec-corner-shop-")
    assert service.job == {}


def test_paths_of_the_spec_that_lead_to_this_machine_are_refused(
    bucket: Bucket, shop: Shop, flags: list[str]
) -> None:
    shop.spec["users"]["source"]["path"] = str(shop.input / "users.csv")
    text = yaml.safe_dump(shop.spec)
    bucket.handle.blob("specs/spec.yaml").upload_from_string(text)
    done = call("--", *flags)
    assert done.code == 2
    assert "Dataflow's workers cannot read" in done.err
    assert bucket.names("out/") == []


def test_a_spec_that_is_not_there(bucket: Bucket, flags: list[str]) -> None:
    bucket.handle.blob("specs/spec.yaml").delete()
    done = call("--", *flags)
    assert done.code == 2
    assert f"there is no spec gs://{BUCKET}/specs/spec.yaml" in done.err
