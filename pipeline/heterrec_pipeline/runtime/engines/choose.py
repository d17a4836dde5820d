"""Chooses the engine that the options name, fills in default options, and rejects a call that lacks a requirement."""

import os
import shutil
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)

from heterrec_pipeline.runtime.engines.engine import Engine
from heterrec_pipeline.runtime.engines.local import LocalProcesses
from heterrec_pipeline.runtime.engines.portable import JobService, is_local
from heterrec_pipeline.runtime.engines.prism import ALLOW_OPEN_PORTS, Prism, accepts_connections
from heterrec_schemas.errors import CallError

FOLDER_VARIABLE = "HETERREC_ENGINES"
"""Environment variable that names the folder of the binaries; the default is `.engines` in the checkout."""
PYTHON_VARIABLE = "HETERREC_WORKER_PATH"
"""Environment variable that passes the folder of this Python to boot.sh."""


def engine_of(options: PipelineOptions, allow_open_ports: bool = False) -> Engine:
    """The engine that the options name; adds missing options.

    Args:
        options: completed in place.
        allow_open_ports: accept an engine with ports that other machines can connect to.

    Raises:
        CallError: a program, service or option that the engine needs is missing, or it opens ports to other machines.
    """
    runner = str(options.view_as(StandardOptions).runner).rpartition(".")[2]
    if runner == "PrismRunner":
        return _prism(options, allow_open_ports)
    if runner == "PortableRunner":
        return _portable(options)
    direct = options.view_as(DirectOptions)
    if runner == "FnApiRunner" and direct.direct_running_mode == "multi_processing":
        return LocalProcesses(options)
    return Engine()


def _prism(options: PipelineOptions, allow_open_ports: bool) -> Engine:
    portable = options.view_as(PortableOptions)
    portable.environment_type = (portable.environment_type or "LOOPBACK").upper()
    processes = portable.environment_type == "PROCESS"
    if processes:
        _add_worker_command(portable)
    if portable.job_endpoint:
        return _portable(options)
    location = options.view_as(PrismRunnerOptions).prism_location
    if location and "://" in location:  # Beam downloads, starts and stops it
        if not allow_open_ports:
            raise CallError(
                f"--prism_location: a downloaded Prism accepts connections of other machines, got {location}",
                todo=ALLOW_OPEN_PORTS,
            )
        return Engine()
    binary = _executable(location, "prism", "--prism_location")
    return Prism(binary, processes, allow_open_ports)


def _portable(options: PipelineOptions) -> Engine:
    portable = options.view_as(PortableOptions)
    endpoint = str(portable.job_endpoint or "")
    if not endpoint:
        raise CallError(
            "the portable engine needs the address of a job service",
            todo="Pass it after --: --job_endpoint=localhost:8099.",
        )
    if endpoint == "embed":
        return Engine()
    host, _, port = endpoint.rpartition(":")
    if not port.isdigit() or not accepts_connections(host.strip("[]"), int(port)):
        raise CallError(
            f"no job service answers at {endpoint}",
            todo="Start it, or correct --job_endpoint (host:port).",
        )
    if is_local(host) and not portable.environment_type:
        portable.environment_type = "LOOPBACK"
    if str(portable.environment_type).upper() == "PROCESS":
        _add_worker_command(portable)
    remote = str(portable.environment_type).upper() != "LOOPBACK"
    return JobService(endpoint, remote_workers=remote)


def _add_worker_command(portable: PortableOptions) -> None:
    """Set the command that starts a worker process: boot.sh of `make engines`, unless the call names one."""
    if portable.environment_config:
        return
    named = portable.lookup_environment_option("process_command")
    command = _executable(named, "boot.sh", "--environment_option=process_command")
    if not named:
        portable.add_environment_option(f"process_command={command}")
    if not portable.lookup_environment_option("process_variables"):
        path = os.path.dirname(sys.executable)
        portable.add_environment_option(f"process_variables={PYTHON_VARIABLE}={path}")


def _executable(named: str | None, name: str, flag: str) -> str:
    """The path of a program: the one that the call names, else one in the folder of engines, else Prism on the PATH.

    Raises:
        CallError: no executable program is found.
    """
    if named:
        found = shutil.which(named)
        if found is None:
            raise CallError(f"{flag}: {named} is not an executable program")
        return os.path.abspath(found)
    folder = engines_folder()
    found = shutil.which(str(folder / name)) or (shutil.which(name) if name == "prism" else None)
    if found is None:
        raise CallError(
            f"there is no {name} in {folder}",
            todo=f"Run `make engines` in the checkout, or pass one after --: {flag}=PATH.",
        )
    return os.path.abspath(found)


def engines_folder() -> Path:
    """The folder in which `make engines` puts its binaries."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[4] / ".engines"
