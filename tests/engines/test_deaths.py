"""Processes that die in the middle of a build: it fails soon, says which one it was, and leaves nothing behind."""

import contextlib
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import psutil
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from corner_shop import Running, Shop, start
from services import JobService, below, named, wait_until

from heterrec_pipeline.runtime.engines import engine_of
from heterrec_pipeline.runtime.engines import prism as prism_engine
from heterrec_pipeline.runtime.engines.processes import is_running
from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_schemas.errors import RunError

pytestmark = [pytest.mark.engine, pytest.mark.slow]
SOON = 30.0
"""Seconds, of which a command on an idle machine takes three: docs/engines.md promises a minute."""
PROCESSES = ("--workers", "2")
PRISM_PROCESS = ("--runner", "prism", "--", "--environment_type=PROCESS")
KILLED = "was killed by signal 9 (SIGKILL)"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.write()
    return made


@contextlib.contextmanager
def building(shop: Shop, *flags: str) -> Iterator[Running]:
    """A build that is in the middle: its steps have begun to write."""
    process = start("build", *shop.arguments(), *flags)
    try:
        wait_until(lambda: [*shop.output.glob("generations/*/parts/*")] or process.poll())
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def failed(process: Running, shop: Shop, others: list[psutil.Process]) -> str:
    """The message of a build that has ended as it should, in time, and with nothing left."""
    began = time.monotonic()
    out, err = process.communicate(timeout=SOON)
    assert time.monotonic() - began < SOON
    assert (process.returncode, out) == (1, ""), err
    assert "Traceback" not in err
    assert [p for p in others if is_running(p)] == []
    assert shop.generations() == []
    assert not (shop.output / "latest.json").exists()
    return err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_process_dies(shop: Shop, number: signal.Signals) -> None:
    with building(shop, *PROCESSES) as process:
        others = below(process)
        victim = named(others, "engines.worker")
        victim.send_signal(number)
        message = failed(process, shop, others)
    assert f"worker process {victim.pid} (worker_" in message
    assert f"was killed by signal {number.value} ({number.name})" in message
    if number == signal.SIGKILL:  # the next run works
        done = shop.build(*PROCESSES)
        assert done.code == 0, done.err
        assert shop.generations() == [shop.latest()]


def test_the_job_service_dies(shop: Shop, service: JobService) -> None:
    with building(shop, "--runner", "portable", "--", f"--job_endpoint={service.endpoint}") as run:
        service.process.kill()
        message = failed(run, shop, [])
    assert f"job service at {service.endpoint} (process {service.process.pid}) died" in message
    done = shop.build("--runner", "portable", "--", f"--job_endpoint={service.endpoint}")
    assert done.code == 2
    assert f"no job service answers at {service.endpoint}" in done.message


@pytest.mark.usefixtures("prism")
@pytest.mark.parametrize(
    "flags", [("--runner", "prism"), PRISM_PROCESS], ids=["threads", "process"]
)
def test_prism_dies(shop: Shop, flags: tuple[str, ...]) -> None:
    with building(shop, *flags) as process:
        others = below(process)
        victim = named(others, "--job_port")
        victim.kill()
        message = failed(process, shop, others)
    assert f"Prism (process {victim.pid}) {KILLED}" in message


@pytest.mark.usefixtures("prism")
@pytest.mark.parametrize(
    ("word", "words"),
    [
        # Prism may end before it has logged the signal, and the boot process ends with the worker.
        (
            "sdk_worker_main",
            r"worker process {pid} of Prism ended early|boot process \d+ of Prism is gone",
        ),
        ("--semi_persist_dir", "boot process {pid} of Prism is gone"),
    ],
)
def test_a_process_of_prism_dies(shop: Shop, word: str, words: str) -> None:
    with building(shop, *PRISM_PROCESS) as process:
        others = below(process)
        victim = named(others, word)
        victim.kill()
        message = failed(process, shop, others)
    assert re.search(words.format(pid=victim.pid), message)


@pytest.mark.usefixtures("prism")
@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("#!/bin/sh\nexit 3\n", 1, "no worker process could be started: process failed while run"),
        ("#!/bin/sh\n", 1, "no worker process could be started"),
        (None, 2, "is not an executable program"),
    ],
    ids=["broken", "idle", "absent"],
)
def test_a_worker_that_cannot_start(
    shop: Shop, tmp_path: Path, script: str | None, code: int, words: str
) -> None:
    command = tmp_path / "boot.sh"
    if script is not None:
        command.write_text(script)
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    done = shop.build(*PRISM_PROCESS, f"--environment_option=process_command={command}")
    assert done.code == code
    assert words in done.message
    assert shop.generations() == []


@pytest.mark.parametrize("flags", [PROCESSES, PRISM_PROCESS], ids=["local", "prism"])
def test_ctrl_c_ends_the_workers_too(
    shop: Shop, flags: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    if flags == PRISM_PROCESS:
        request.getfixturevalue("prism")
    with building(shop, *flags) as process:
        others = below(process)
        assert others
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        message = failed(process, shop, others)
    assert message == "error: stopped; nothing was published"


@pytest.mark.usefixtures("prism")
def test_a_time_limit(shop: Shop) -> None:
    done = shop.build("--runner", "prism", "--time-limit", "1")
    assert done.code == 1
    assert "the time limit of 1 s has passed; nothing was published" in done.message
    assert shop.generations() == []


@pytest.mark.usefixtures("prism")
def test_mistakes_of_the_data_are_told_as_ever(shop: Shop) -> None:
    shop.add("log.csv", [["u1", "i01", "soon", "view", "900"]] * 20)
    local, elsewhere = shop.build(), shop.build(*PRISM_PROCESS)
    assert local.code == elsewhere.code == 2
    assert local.message == elsewhere.message
    assert "time_unreadable dominates with 20 entries" in local.message


def small_graph(options: PipelineOptions) -> beam.Pipeline:
    """A graph of two steps."""
    pipeline = beam.Pipeline(options=options)
    pipeline | beam.Create([1, 2]) | beam.Map(str)
    return pipeline


@pytest.mark.usefixtures("prism")
def test_a_graph_that_is_long_in_the_drawing_finds_prism_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prism ends after a while without a job; on a busy machine that was before the graph was submitted."""
    monkeypatch.setattr(prism_engine, "IDLE_SHUTDOWN", "1s")
    options = pipeline_options(["--runner=prism"])
    with engine_of(options) as engine:
        pipeline = small_graph(options)
        time.sleep(3)
        assert engine.run(pipeline).state == "DONE"


def test_the_job_service_dies_before_the_job_is_submitted(service: JobService) -> None:
    options = pipeline_options(["--runner=portable", f"--job_endpoint={service.endpoint}"])
    with engine_of(options) as engine:
        pipeline = small_graph(options)
        service.process.kill()
        service.process.wait()
        with pytest.raises(RunError, match=r"the job service at .* died during the run"):
            engine.run(pipeline)
