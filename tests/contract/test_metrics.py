"""What Beam's metrics say of a build is what its manifest says, whatever the engine."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from building import build_dataset
from fixed import catalogue, denormalised, empty_splits
from strategies import Dataset

from heterrec_schemas.manifest import Manifest

PRISM = Path(os.environ.get("HETERREC_ENGINES", ".engines")).absolute() / "prism"
SECONDS = 60


def said_by(metrics: dict[str, int], manifest: Manifest) -> dict[str, Any]:
    """The counts of a manifest, reckoned from metrics as docs/operations.md says; the manifest gives names alone."""
    get = lambda name: metrics.get(name, 0)  # noqa: E731
    tables = {
        table: {
            "read": get(f"{table}.rows") - get(f"{table}.repeated"),
            "kept": get(f"{table}.keys"),
            "rejected": get(f"{table}.unusable") + get(f"{table}.duplicate"),
            "repeated": get(f"{table}.repeated"),
        }
        for table in ("items", "users")
    }
    log = {k: get(f"interactions.{k}") for k in ("read", "kept", "unknown_item", "duplicate")}
    log["short_user"] = get("interactions.short_user")
    log["rejected"] = get("interactions.malformed") + get("interactions.bad")
    return {
        "items": tables["items"],
        "users": tables["users"] if manifest.counts.users else None,
        "interactions": log,
        "sequences": {s: get(f"sequences.{s}") for s in manifest.counts.sequences},
        "rejects": {k[8:]: v for k, v in sorted(metrics.items()) if k.startswith("rejects.")},
        "features": [
            (f.name, get(f"{f.side}/{f.name}.missing"), get(f"{f.side}/{f.name}.oov"))
            for f in manifest.features
        ],
        "files": (get("files.count"), get("files.rows"), get("files.bytes")),
        "inputs": (get("inputs.files"), get("inputs.bytes")),
    }


def written_in(manifest: Manifest) -> dict[str, Any]:
    """The same out of the manifest itself."""
    counts = manifest.counts.model_dump(mode="json")
    files = manifest.files
    return counts | {
        "rejects": {str(reason): entries for reason, entries in manifest.rejects.items()},
        "features": [(f.name, f.missing, f.oov) for f in manifest.features],
        "files": (len(files), sum(f.rows or 0 for f in files), sum(f.bytes for f in files)),
        "inputs": (len(manifest.inputs), sum(i.bytes for i in manifest.inputs)),
    }


def check(dataset: Dataset, folder: Path, *flags: str, **how: Any) -> None:
    result = build_dataset(dataset, folder, pipeline_args=list(flags), **how)
    assert said_by(result.metrics, result.manifest) == written_in(result.manifest)
    stages = {stage.stage: stage for stage in result.stages}
    assert {"Catalogue", "Log", "Histories", "Splits", "Sequences", "Publish"} <= set(stages)
    assert stages["Log"].rows_read == result.manifest.counts.interactions.read
    assert sum(s.bytes_written for s in stages.values()) == sum(
        f.bytes for f in result.manifest.files
    )
    assert stages["Splits"].rows_spilled == sum(result.manifest.counts.sequences.values())
    assert all(s.seconds >= 0 and s.started <= s.ended for s in stages.values())


@pytest.mark.parametrize("make", [catalogue, denormalised, empty_splits])
def test_the_local_engine(make: Any, tmp_path: Path) -> None:
    check(make(), tmp_path)


def test_every_counter_is_documented(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in build_dataset(catalogue(), tmp_path).metrics:
        known = re.sub(r"^(items|users)(\.joins\[\d+\])?\.", "<table>.", name)
        known = re.sub(r"^(item|user)/.*\.", r"\1/<feature>.", known)
        known = re.sub(r"^rejects\..*", "rejects.<reason>", known)
        assert f"`{known}`" in page or f"`.{known.split('.')[-1]}`" in page, name


THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_several_workers(flags: tuple[str, ...], tmp_path: Path) -> None:
    check(catalogue(), tmp_path, *flags, files=4)


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[str]:
    """The endpoint of a local job service."""
    ports = tmp_path / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    server = subprocess.Popen(
        [*command, "--port=0", f"--port_file={ports}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(ports, server)
        yield f"localhost:{ports.read_text().strip()}"
    finally:
        server.kill()
        server.wait()


def wait_for(file: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(SECONDS * 10):
        if file.exists() and file.read_text().strip():
            return
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError("the job service does not answer")


@pytest.mark.engine
def test_the_job_service(job_service: str, tmp_path: Path) -> None:
    where = f"--job_endpoint={job_service}"
    check(catalogue(), tmp_path, "--runner=PortableRunner", where, "--environment_type=LOOPBACK")


@pytest.mark.engine
@pytest.mark.skipif(not PRISM.exists(), reason=f"there is no {PRISM}: make engines")
def test_prism(tmp_path: Path) -> None:
    where = f"--prism_location={PRISM}"
    check(catalogue(), tmp_path, "--runner=PrismRunner", where, "--environment_type=LOOPBACK")
