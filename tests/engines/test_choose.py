"""Which engine the options name, what is filled in, and what is refused."""

import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PortableOptions, StandardOptions
from services import JobService

from heterrec_pipeline.runtime.engines import Engine, engine_of
from heterrec_pipeline.runtime.engines.choose import FOLDER_VARIABLE
from heterrec_pipeline.runtime.engines.local import LocalProcesses
from heterrec_pipeline.runtime.engines.portable import JobService as WatchedService
from heterrec_pipeline.runtime.engines.portable import listener
from heterrec_pipeline.runtime.engines.prism import Prism
from heterrec_pipeline.runtime.flags import ENGINES, pipeline_options, with_runner
from heterrec_schemas.errors import CallError


@pytest.fixture
def binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs that look like those of `make engines`."""
    for name in ("prism", "boot.sh"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("name", "runner"), ENGINES.items())
def test_short_names(name: str, runner: str) -> None:
    for arguments in (with_runner(name, []), [f"--runner={name}"], [f"--runner={runner}"]):
        options = pipeline_options(arguments)
        assert str(options.view_as(StandardOptions).runner) == runner


def test_the_runner_stands_before_or_behind() -> None:
    assert with_runner(None, ["--runner=prism"]) == ["--runner=prism"]
    assert with_runner("prism", ["--runner", "prism", "--x=1"])[0] == "--runner=prism"
    with pytest.raises(
        CallError, match="two engines are named: --runner prism, and --runner local"
    ):
        with_runner("prism", ["--runner=local"])


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_the_local_engine_needs_no_watch(mode: str) -> None:
    found = engine_of(pipeline_options([f"--direct_running_mode={mode}"]))
    assert type(found) is Engine
    assert not found.remote_workers
    assert found.path("some/folder") == "some/folder"


def test_worker_processes_are_watched() -> None:
    found = engine_of(pipeline_options(["--direct_running_mode=multi_processing"]))
    assert isinstance(found, LocalProcesses)


def test_prism_runs_steps_on_threads_of_the_command(binaries: Path) -> None:
    options = pipeline_options(["--runner=prism"])
    found = engine_of(options)
    assert isinstance(found, Prism)
    assert not found.remote_workers
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_prism_with_processes_gets_their_command(binaries: Path) -> None:
    options = pipeline_options(["--runner=prism", "--environment_type=process"])
    assert engine_of(options).remote_workers
    portable = options.view_as(PortableOptions)
    assert portable.lookup_environment_option("process_command") == str(binaries / "boot.sh")
    variables = portable.lookup_environment_option("process_variables")
    assert variables == f"HETERREC_WORKER_PATH={Path(sys.executable).parent}"


def test_what_is_named_is_kept(binaries: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    named = [f"--environment_option=process_command={mine}", f"--prism_location={mine}"]
    options = pipeline_options(["--runner=prism", "--environment_type=PROCESS", *named])
    engine_of(options)
    portable = options.view_as(PortableOptions)
    assert portable.lookup_environment_option("process_command") == str(mine)


def test_a_local_service_gets_threads_of_the_command(service: JobService) -> None:
    options = pipeline_options(["--runner=portable", f"--job_endpoint={service.endpoint}"])
    found = engine_of(options)
    assert isinstance(found, WatchedService)
    assert not found.remote_workers
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"
    process = listener(service.endpoint)
    assert process is not None
    assert process.pid == service.process.pid


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runner=portable"], "needs the address of a job service. Pass it after --: --job_end"),
        (["--runner=portable", "--job_endpoint=localhost:1"], "answers at localhost:1. Start it"),
        (["--runner=portable", "--job_endpoint=nowhere"], "answers at nowhere"),
        (["--runner=prism"], "Run `make engines` in the checkout, or pass one after --: --prism_"),
        (
            ["--runner=prism", "--prism_location=/no/prism"],
            "/no/prism is not an executable program",
        ),
        (
            ["--runner=prism", "--prism_location=https://nowhere/prism"],
            "accepts connections of other machines, got https://nowhere/prism. Use the Prism of",
        ),
        (["--runner=prism", "--environment_type=PROCESS"], "there is no boot.sh in "),
    ],
)
def test_what_is_missing_is_refused(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CallError) as error:
        engine_of(pipeline_options(arguments))
    assert words in error.value.message
