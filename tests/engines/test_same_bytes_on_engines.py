"""Every engine gives the local run's bytes of a build and of a refresh: worker processes, the job service, Prism."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from building import build_folder
from fixed import catalogue
from services import JobService
from strategies import write_input

pytestmark = [pytest.mark.engine, pytest.mark.slow]
PROCESSES = "--direct_running_mode=multi_processing"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items with joins, lists and vectors, users and a log, with rows that must be set aside."""
    folder = tmp_path_factory.mktemp("source")
    write_input(folder, catalogue(), files=3)
    earlier = catalogue()
    for table in earlier.tables:  # every fourth row is new, and a few rows are gone
        earlier = earlier.with_rows(
            table.name, [*table.rows[::4], *table.rows[1::4], *table.rows[2::4]]
        )
    gone = [{**row, "id": f"gone {k}"} for k, row in enumerate(earlier.tables[0].rows[:5])]
    earlier = earlier.with_rows("items", [*earlier.tables[0].rows, *gone])
    write_input(folder / "earlier", earlier)
    build_folder(SPEC, folder / "earlier", folder / "parent")
    return folder


def _with_expressions() -> str:
    spec: dict[str, Any] = yaml.safe_load(catalogue().spec_text)
    spec["interactions"]["source"] |= {
        "columns": {"item": "CAST(item AS VARCHAR)", "time": "REPLACE(time, 'soon', 'later')"},
        "where": "what <> 'cart ' OR \"order\" IS NULL",
    }
    return yaml.safe_dump(spec)


SPEC = _with_expressions()


def built(source: Path, output: Path, *arguments: str) -> dict[str, str]:
    """The SHA-256 of every file of a build and of a refresh but the manifests, and the manifests' hashes of the contents."""
    options, parent = list(arguments), str(source / "parent")
    results = {
        "build": build_folder(SPEC, source, output, pipeline_args=options),
        "refresh": build_folder(
            SPEC,
            source,
            output / "refreshed",
            pipeline_args=options,
            base=parent,
            refit=["price"],
        ),
    }
    found = {}
    for name, result in results.items():
        root = Path(result.path)
        found |= {
            f"{name} {p.relative_to(root)}": hashlib.sha256(p.read_bytes()).hexdigest()
            for p in root.rglob("*")
            if p.is_file() and p.name != "manifest.json"
        }
        found[f"{name} content"] = result.manifest.content_sha256
    assert any(name.startswith("refresh retired/") for name in found)
    return found


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the local engine makes of it."""
    return built(source, tmp_path_factory.mktemp("local"))


def test_worker_processes(local: object, source: Path, tmp_path: Path) -> None:
    assert built(source, tmp_path, "--direct_num_workers=2", PROCESSES) == local


def test_the_job_service(local: object, source: Path, tmp_path: Path, service: JobService) -> None:
    assert (
        built(source, tmp_path, "--runner=portable", f"--job_endpoint={service.endpoint}") == local
    )


@pytest.mark.usefixtures("prism")
def test_prism_with_threads(local: object, source: Path, tmp_path: Path) -> None:
    assert built(source, tmp_path, "--runner=prism") == local


@pytest.mark.usefixtures("prism")
def test_prism_with_worker_processes(
    local: object, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers do not run in this folder, and relative paths must reach the same files.
    monkeypatch.chdir(tmp_path)
    assert built(source, Path("here"), "--runner=prism", "--environment_type=PROCESS") == local
    assert [p.name for p in tmp_path.iterdir()] == ["here"], "workers leave nothing behind"
