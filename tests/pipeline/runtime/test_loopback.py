"""Servers of Beam are bound to the loopback interface; those of others are left alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest

from heterrec_pipeline.runtime.loopback import bind_to_loopback, open_ports


def opened(package: str, address: str) -> list[str]:
    """The ports open to other machines after a module of a package has opened a server."""
    scope: dict[str, Any] = {"__package__": package, "grpc": grpc, "pool": ThreadPoolExecutor(1)}
    exec("server = grpc.server(pool)", scope)
    before = open_ports([psutil.Process()])
    port = scope["server"].add_insecure_port(address)
    assert port
    try:
        return [p for p in open_ports([psutil.Process()]) if p not in before]
    finally:
        scope["server"].stop(0).wait()


@pytest.mark.parametrize("address", ["[::]:0", "0.0.0.0:0", "localhost:0"])
def test_a_server_of_beam(address: str) -> None:
    bind_to_loopback()
    assert opened("apache_beam.runners.worker", address) == []


def test_a_server_of_another_package() -> None:
    bind_to_loopback()
    assert len(opened("apache_beamer", "[::]:0")) == 1


def test_it_is_done_once() -> None:
    bind_to_loopback()
    once = grpc.server
    bind_to_loopback()
    assert grpc.server is once


def test_a_module_is_run_with_its_arguments() -> None:
    module = "apache_beam.runners.worker.worker_pool_main"
    command = [sys.executable, "-m", "heterrec_pipeline.runtime.loopback", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "usage: worker_pool_main.py" in done.stdout
