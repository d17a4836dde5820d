import subprocess
import sys
from importlib import metadata
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from heterrec_pipeline.runtime.dataflow.packages import staged_package
from heterrec_pipeline.runtime.dataflow.wheel import pinned_requirements, write_wheel

SAY = (
    "import importlib.metadata as m, heterrec_schemas, heterrec_pipeline.flow as f;"
    "print(m.version('heterrec'), f.__file__, heterrec_schemas.__file__)"
)


def packages(*flags: str) -> list[str] | None:
    options = PipelineOptions(list(flags))
    with staged_package(options):
        found: list[str] | None = options.view_as(SetupOptions).extra_packages
        assert found is None or all(Path(path).is_file() for path in found)
    return found


def test_the_wheel_installs_and_is_what_runs(tmp_path: Path) -> None:
    """Without the checkout on the path, and without the model."""
    wheel = write_wheel(tmp_path)
    target = tmp_path / "target"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", target, wheel], check=True)
    path = f"import sys; sys.path.insert(0, {str(target)!r});"
    run = [sys.executable, "-I", "-c", path + SAY]
    said = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    version, *files = said.split()
    assert version == metadata.version("heterrec")
    assert [f for f in files if not f.startswith(str(target))] == []
    assert not (target / "heterrec_model").exists()
    assert (target / "heterrec_schemas" / "json").is_dir(), "data files come along"


def test_the_same_installation_gives_the_same_bytes(tmp_path: Path) -> None:
    """Beam can then keep it between jobs (--enable_artifact_caching)."""
    first, second = (tmp_path / name for name in ("a", "b"))
    first.mkdir()
    second.mkdir()
    assert write_wheel(first).read_bytes() == write_wheel(second).read_bytes()


def test_workers_get_the_versions_of_this_environment() -> None:
    """The bytes of a generation depend on them."""
    pins = pinned_requirements()
    for name in ("apache-beam", "numpy", "polars", "polars-hash", "pyarrow", "xxhash"):
        assert f"{name}=={metadata.version(name)}" in pins
    assert [pin for pin in pins if pin.startswith(("torch", "sentence"))] == []


def test_a_wheel_is_staged_unless_the_call_brings_its_own(tmp_path: Path) -> None:
    (wheel,) = packages() or [""]
    assert wheel.endswith(".whl")
    assert not Path(wheel).exists(), "gone once it is staged"
    assert packages("--sdk_container_image=x/y:z") is None
    assert packages("--setup_file=pyproject.toml") is None
    mine = tmp_path / "mine.whl"
    mine.touch()
    assert packages(f"--extra_package={mine}") == [str(mine)]
