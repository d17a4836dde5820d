"""Which engine the options name, with the defaults that spare a caller most flags, or a refusal of what is missing."""

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
from heterrec_pipeline.runtime.engines.prism import Prism, answers
from heterrec_schemas.errors import CallError

FOLDER_VARIABLE = "HETERREC_ENGINES"
"""An environment variable that names the folder of the binaries; by default `.engines` of the checkout."""
PYTHON_VARIABLE = "HETERREC_WORKER_PATH"
"""Tells boot.sh the folder of this Python."""


def engine_of(options: PipelineOptions) -> Engine:
    """The engine that the options name; completes the options.

    Raises:
        CallError: something that the engine needs is missing.
    """
    runner = str(options.view_as(StandardOptions).runner).rpartition(".")[2]
    if runner == "PrismRunner":
        return _prism(options)
    if runner == "PortableRunner":
        return _portable(options)
    direct = options.view_as(DirectOptions)
    if runner == "FnApiRunner" and direct.direct_running_mode == "multi_processing":
        return LocalProcesses(options)
    return Engine()


def _prism(options: PipelineOptions) -> Engine:
    portable = options.view_as(PortableOptions)
    portable.environment_type = (portable.environment_type or "LOOPBACK").upper()
    processes = portable.environment_type == "PROCESS"
    if processes:
        _complete_command(portable)
    if portable.job_endpoint:
        return _portable(options)
    location = options.view_as(PrismRunnerOptions).prism_location
    if location and "://" in location:  # Beam fetches it, and looks after it
        return Engine()
    return Prism(options, _executable(location, "prism", "--prism_location"), processes)


def _portable(options: PipelineOptions) -> Engine:
    portable = options.view_as(PortableOptions)
    endpoint = str(portable.job_endpoint or "")
    if not endpoint:
        raise CallError(
            "the portable engine needs the address of a job service",
            todo="Name it behind --: --job_endpoint=localhost:8099.",
        )
    if endpoint == "embed":
        return Engine()
    host, _, port = endpoint.rpartition(":")
    if not port.isdigit() or not answers(host.strip("[]"), int(port)):
        raise CallError(
            f"no job service answers at {endpoint}",
            todo="Start it, or correct --job_endpoint (host:port).",
        )
    if is_local(host) and not portable.environment_type:
        portable.environment_type = "LOOPBACK"
    if str(portable.environment_type).upper() == "PROCESS":
        _complete_command(portable)
    return JobService(endpoint, apart=str(portable.environment_type).upper() != "LOOPBACK")


def _complete_command(portable: PortableOptions) -> None:
    """The command that starts a worker process: boot.sh of `make engines` unless one is named."""
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
    """The path of a program: as named, in the folder of engines, or (not named) on the PATH.

    Raises:
        CallError: there is none that can be run.
    """
    if named:
        found = shutil.which(named)
        if found is None:
            raise CallError(f"{flag}: {named} is no program that can be run")
        return os.path.abspath(found)
    folder = engines_folder()
    found = shutil.which(str(folder / name)) or (shutil.which(name) if name == "prism" else None)
    if found is None:
        raise CallError(
            f"there is no {name} in {folder}",
            todo=f"Run `make engines` in the checkout, or name one behind --: {flag}=PATH.",
        )
    return os.path.abspath(found)


def engines_folder() -> Path:
    """Where `make engines` puts its binaries."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[4] / ".engines"
