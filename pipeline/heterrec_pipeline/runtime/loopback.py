"""Keeps Beam's gRPC servers on the loopback interface: Beam opens them to all networks, without authentication.

As a program it does the same for a module of Beam that is run as a service:

    python -m heterrec_pipeline.runtime.loopback apache_beam.runners.portability.local_job_service_main -p 8099
"""

import ipaddress
import runpy
import sys
from collections.abc import Iterable
from typing import Any

import grpc
import psutil

_BEAM = "apache_beam"


def bind_to_loopback() -> None:
    """From now on, the servers that Beam opens in this process listen on the loopback interface only.

    Every server of Beam is made by `grpc.server` and opens its port by the server's `add_insecure_port`. Servers of other
    packages are left alone.
    """
    make = grpc.server
    if getattr(make, "_binds_to_loopback", False):
        return

    def server(*args: Any, **options: Any) -> grpc.Server:
        made = make(*args, **options)
        package = str(sys._getframe(1).f_globals.get("__package__"))
        if package.partition(".")[0] == _BEAM:
            add = made.add_insecure_port
            made.add_insecure_port = lambda address: add(_on_loopback(address))
        return made

    server._binds_to_loopback = True  # type: ignore[attr-defined]
    grpc.server = server


def _on_loopback(address: str) -> str:
    """An address host:port with the same port, on the loopback interface."""
    return f"localhost:{address.rpartition(':')[2]}"


def open_ports(processes: Iterable[psutil.Process]) -> list[str]:
    """The addresses, as host:port, at which processes accept TCP connections of other machines."""
    return sorted(
        f"{found.laddr.ip}:{found.laddr.port}"
        for process in processes
        for found in process.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and not _is_loopback(found.laddr.ip)
    )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.removeprefix("::ffff:").partition("%")[0]).is_loopback


def main() -> None:
    """Run the module that the first argument names with the other arguments."""
    bind_to_loopback()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
