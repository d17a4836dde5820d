"""During a build no process of an engine accepts connections of other machines."""

import contextlib
import sys
import time
from pathlib import Path

import psutil
import pytest
from corner_shop import Shop, start
from services import JobService, below

from heterrec_pipeline.runtime.loopback import open_ports

pytestmark = [pytest.mark.engine, pytest.mark.slow]
THREADS = ("--", "--direct_running_mode=multi_threading", "--direct_num_workers=2")
PRISM = ("--runner", "prism")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path / "shop")
    made.write()
    return made


def listening(processes: list[psutil.Process]) -> tuple[int, list[str]]:
    """The number of listening sockets of these processes, and the addresses open to other machines."""
    count, found = 0, []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            count += sum(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
            found += open_ports([process])
    return count, found


def during_a_build(shop: Shop, *flags: str, more: tuple[psutil.Process, ...] = ()) -> int:
    """Build, and check all sockets every now and then; returns the largest number of listening ones."""
    most = 0
    process = start("build", *shop.arguments(), "--quiet", *flags)
    try:
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                tree = [psutil.Process(process.pid), *below(process), *more]
                count, found = listening(tree)
                assert not found
                most = max(most, count)
            time.sleep(0.05)  # the build needs the processor too
        assert process.returncode == 0, process.communicate()[1]
    finally:
        process.kill()
        process.wait()
    return most


def test_the_default_engine_opens_none(shop: Shop) -> None:
    assert during_a_build(shop) == 0


@pytest.mark.parametrize("flags", [THREADS, ("--workers", "2")], ids=["threads", "processes"])
def test_the_local_engine(shop: Shop, flags: tuple[str, ...]) -> None:
    assert during_a_build(shop, *flags) >= 4  # control, data, state, log


def test_a_job_service(shop: Shop, service: JobService) -> None:
    flags = ("--runner", "portable", "--", f"--job_endpoint={service.endpoint}")
    found = during_a_build(shop, *flags, more=(psutil.Process(service.process.pid),))
    assert found >= 6  # as above, the service's own, and the one for workers in the command


@pytest.mark.usefixtures("prism")
@pytest.mark.parametrize(
    ("flags", "least"),
    [(PRISM, 2), ((*PRISM, "--", "--environment_type=PROCESS"), 1)],
    ids=["threads", "process"],
)
def test_prism(shop: Shop, flags: tuple[str, ...], least: int) -> None:
    assert during_a_build(shop, *flags) >= least


OPEN = """#!{python}
import socket, sys, time
port = next(int(a.partition("=")[2]) for a in sys.argv if a.startswith("--job_port="))
with socket.create_server(("", port)):
    time.sleep(60)
"""


def test_a_program_with_open_ports_is_refused(shop: Shop, tmp_path: Path) -> None:
    program = tmp_path / "prism"
    program.write_text(OPEN.format(python=sys.executable))
    program.chmod(0o755)
    done = shop.build(*PRISM, "--", f"--prism_location={program}")
    assert done.code == 2
    assert (
        f"{program} accepts connections of other machines, without authentication, at 0.0.0.0:"
        in done.message
    )
    assert "accept open ports with --allow-open-ports" in done.message
    assert shop.generations() == []
