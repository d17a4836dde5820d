"""What engines tell of a build: metrics that equal the manifest, a trace of all processes, the stage of a failure."""

import json
from pathlib import Path

import pytest
from corner_shop import Shop
from counts_agree import check
from fixed import catalogue
from services import JobService

pytestmark = [pytest.mark.engine, pytest.mark.slow]
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
PRISM = ("--runner=prism",)
PRISM_PROCESSES = ("--runner=prism", "--environment_type=PROCESS")
prism = pytest.mark.usefixtures("prism")


def test_metrics_of_worker_processes(tmp_path: Path) -> None:
    check(catalogue(), tmp_path, *PROCESSES, files=4)


def test_metrics_of_the_job_service(service: JobService, tmp_path: Path) -> None:
    check(catalogue(), tmp_path, "--runner=portable", f"--job_endpoint={service.endpoint}")


@prism
@pytest.mark.parametrize("flags", [PRISM, PRISM_PROCESSES], ids=["threads", "processes"])
def test_metrics_of_prism(flags: tuple[str, ...], tmp_path: Path) -> None:
    # Prism keeps one bundle of those that end before it knows a metric's name, and loses the others.
    check(catalogue(), tmp_path, *flags, files=2, exact=False)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop")
    shop.write()
    return shop


@prism
def test_a_trace_of_prisms_worker_processes(shop: Shop) -> None:
    target = shop.folder / "trace.json"
    done = shop.build("--profile", target, "--quiet", "--", *PRISM_PROCESSES)
    assert done.code == 0, done.err
    events = json.loads(target.read_text())["traceEvents"]
    named = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    workers = {pid for pid, name in named.items() if name.startswith("worker")}
    assert workers
    assert {e["pid"] for e in events if e.get("cat") == "step"} <= workers
    written = [e for e in events if e.get("cat") == "written"]
    assert len(written) == len(shop.manifest()["files"])


def test_a_failure_of_a_worker_process_names_its_stage(shop: Shop) -> None:
    fails_in_the_catalogue(shop, *PROCESSES)


@prism
@pytest.mark.parametrize("flags", [PRISM, PRISM_PROCESSES], ids=["threads", "processes"])
def test_a_failure_on_prism_names_its_stage(flags: tuple[str, ...], shop: Shop) -> None:
    fails_in_the_catalogue(shop, *flags)


def fails_in_the_catalogue(shop: Shop, *flags: str) -> None:
    shop.put("items.csv", [["item_id", "brand", "price"], ["i00", "Kiwi", ""]])
    done = shop.build("--log-json", "--", *flags)
    assert done.code == 2
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert lines[0]["event"] == "begin"
    last = lines[-1]
    assert (last["event"], last["error"], last["stage"]) == ("failed", "DataError", "Catalogue")
