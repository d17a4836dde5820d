"""What is on disk is what setup.cfg says, and what a wheel carries; nothing heavy is imported unasked."""

import ast
import configparser
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "pipeline", "model")
SETUPTOOLS = Version("77")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
MACHINE_PATH = re.compile(r"(?<![\w.:/*>-])/(?:home|root|Users|work|mnt)/[\w.]|\b[A-Z]:\\Users\\")


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def pins(path: Path) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a file with their hashes."""
    text = re.sub(r"(?m)^#.*\n", "", path.read_text(encoding="utf-8")).replace("\\\n", " ")
    lines = [line.split(" --hash=") for line in text.splitlines()]
    return [(Requirement(line[0]), [f"--hash={h.strip()}" for h in line[1:]]) for line in lines]


@pytest.fixture(scope="module")
def lock() -> dict[str, Version]:
    """The versions of the lock for Python 3.11 on Linux."""
    here = {"python_full_version": "3.11.13", "sys_platform": "linux", "platform_machine": "x86_64"}
    chosen = [
        requirement
        for requirement, _ in pins(ROOT / "requirements.lock")
        if requirement.marker is None or requirement.marker.evaluate(here)
    ]
    names = [canonicalize_name(requirement.name) for requirement in chosen]
    assert len(names) == len(set(names))
    versions = [str(requirement.specifier).removeprefix("==") for requirement in chosen]
    return {name: Version(version) for name, version in zip(names, versions, strict=True)}


def listed(setup: configparser.ConfigParser, section: str, option: str) -> list[str]:
    lines = setup[section][option].splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def packages_on_disk() -> dict[str, Path]:
    """Dotted name -> folder, for every folder of a room that holds modules."""
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    return {".".join(f.relative_to(ROOT).parts[1:]): f for f in folders}


def requirements(setup: configparser.ConfigParser) -> list[Requirement]:
    lines = listed(setup, "options", "install_requires")
    for extra in setup["options.extras_require"]:
        lines += listed(setup, "options.extras_require", extra)
    return [Requirement(line) for line in lines]


def test_every_package_on_disk_is_listed(setup: configparser.ConfigParser) -> None:
    names = listed(setup, "options", "packages")
    assert names == sorted(packages_on_disk())
    roots = dict(line.split(" = ") for line in listed(setup, "options", "package_dir"))
    assert set(roots) == {name for name in names if "." not in name}
    assert [
        name for name, folder in roots.items() if packages_on_disk()[name] != ROOT / folder
    ] == []


@pytest.mark.parametrize("name", sorted(packages_on_disk()))
def test_a_package_says_what_it_is_for(name: str) -> None:
    source = (packages_on_disk()[name] / "__init__.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source))


LIGHT = {
    "schemas": [
        (
            "heterrec_schemas",
            ["apache_beam", "torch", "sentence_transformers", "heterrec_pipeline"],
        ),
    ],
    "pipeline": [
        ("heterrec_pipeline", ["apache_beam", "torch", "sentence_transformers", "transformers"]),
        ("heterrec_pipeline.__main__", ["polars", "pyarrow", "typer"]),
        ("heterrec_pipeline.runtime.startup", ["apache_beam", "polars", "pyarrow", "typer"]),
        ("heterrec_pipeline.commands", ["apache_beam", "torch", "sentence_transformers"]),
    ],
    "model": [
        ("heterrec_model", ["apache_beam", "heterrec_pipeline", "torch"]),
        ("heterrec_model.__main__", ["polars", "pyarrow", "typer"]),
        ("heterrec_model.commands", ["apache_beam", "heterrec_pipeline", "torch"]),
        (  # the image of the service has none of them
            "heterrec_model.service.server, heterrec_model.recommending.bundle_recommender",
            ["apache_beam", "heterrec_pipeline", "pandas", "polars", "polars_hash", "torch"],
        ),
        (
            "heterrec_model.training.train, heterrec_model.serving.recommend",
            ["apache_beam", "heterrec_pipeline", "sentence_transformers", "pandas"],
        ),
    ],
}
"""By room, modules in the order of their import in one process, and what must not have been imported after each."""


@pytest.mark.parametrize("room", LIGHT)
def test_importing_stays_light(room: str) -> None:
    lines = ["import sys"]
    for package, heavy in LIGHT[room]:
        found = f"[m for m in {heavy} if m in sys.modules]"
        lines += [f"import {package}", f"print({package!r}, {found})"]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [f"{package} []" for package, _ in LIGHT[room]]


def test_console_scripts_resolve(setup: configparser.ConfigParser) -> None:
    lines = listed(setup, "options.entry_points", "console_scripts")
    wanted = dict(line.split(" = ") for line in lines)
    installed = importlib.metadata.distribution("heterrec").entry_points.select(
        group="console_scripts"
    )
    assert {e.name: e.value for e in installed} == wanted
    assert all(callable(entry.load()) for entry in installed)


def test_the_lock_satisfies_the_lower_bounds(
    setup: configparser.ConfigParser, lock: dict[str, Version]
) -> None:
    for requirement in requirements(setup):
        if requirement.name == "mlflow-skinny":
            continue  # needs an importlib_metadata below the pinned one
        pinned = lock.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not pinned"
        assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement}: {pinned}"


@pytest.mark.parametrize("name", ["requirements.lock", "dependencies/uv.txt"])
def test_every_file_of_a_pinned_version_has_its_hash(name: str) -> None:
    found = pins(ROOT / name)
    assert found
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert [one for one in hashes if not HASH.fullmatch(one)] == []
    assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_the_lock_is_for_all_platforms(lock: dict[str, Version]) -> None:
    assert "heterrec" not in lock
    assert [str(version) for version in lock.values() if version.local] == []
    of_cuda = [r for r, _ in pins(ROOT / "requirements.lock") if r.name.startswith("nvidia-")]
    assert of_cuda
    assert [
        str(r) for r in of_cuda if "sys_platform == 'linux'" not in str(r.marker).replace('"', "'")
    ] == []


def test_no_file_names_a_path_of_a_machine() -> None:
    found = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # no text
        for number, line in enumerate(text.splitlines(), 1):
            if path != Path(__file__) and MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


def committed_files() -> list[Path]:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout, to know which files belong to the project")
    paths = [ROOT / name for name in ran.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.slow
def test_a_wheel_carries_everything(tmp_path: Path, setup: configparser.ConfigParser) -> None:
    inside = wheel_of(tmp_path)
    for name, folder in packages_on_disk().items():
        modules = {f"{name.replace('.', '/')}/{path.name}" for path in folder.glob("*.py")}
        assert modules <= inside
    for name in ("heterrec_schemas", "heterrec_pipeline", "heterrec_model"):
        assert f"{name}/py.typed" in inside
    assert len(list((ROOT / "schemas/heterrec_schemas/json").glob("*.json"))) == 4
    assert data_files() <= inside
    version = setup["metadata"]["version"]
    assert f"heterrec-{version}.dist-info/licenses/LICENSE" in inside
    tops = {name.split("/")[0] for name in inside}
    packages = {"heterrec_schemas", "heterrec_pipeline", "heterrec_model"}
    assert tops == packages | {f"heterrec-{version}.dist-info"}


def data_files() -> set[str]:
    """The committed files of the rooms that are not modules, by their names in a wheel."""
    inner = [path.relative_to(ROOT) for path in committed_files() if path.suffix != ".py"]
    return {Path(*path.parts[1:]).as_posix() for path in inner if path.parts[0] in ROOMS}


def wheel_of(folder: Path) -> set[str]:
    """The names in a wheel of the project, built from a copy of its sources."""
    source = folder / "source"
    for room in ROOMS:
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, source / room, ignore=unwanted)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    isolated = not setuptools_is_new()
    if not isolated:
        words.append("--no-build-isolation")
    ran = subprocess.run([*words, str(source)], capture_output=True, text=True)
    if isolated and ran.returncode and "build-system" in ran.stderr + ran.stdout:
        pytest.skip(f"needs setuptools {SETUPTOOLS} or newer, installed or from an index")
    assert ran.returncode == 0, ran.stderr
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def setuptools_is_new() -> bool:
    try:
        return Version(importlib.metadata.version("setuptools")) >= SETUPTOOLS
    except importlib.metadata.PackageNotFoundError:
        return False


def test_each_half_installs_without_the_other(setup: configparser.ConfigParser) -> None:
    def names(extra: str) -> set[str]:
        lines = listed(setup, "options.extras_require", extra)
        return {canonicalize_name(Requirement(line).name) for line in lines}

    assert names("model") & {"apache-beam", "sentence-transformers"} == set()
    assert names("pipeline") & {"torch", "sentence-transformers"} == set()
    assert "torch" in names("model")


def test_a_file_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """As `make env` installs: the lock as constraints of an install by uv."""
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("needs uv in the environment: make env")
    wheel = tmp_path / "plum-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("plum.py", "")
        about = "plum-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: plum\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{about}/WHEEL", tags)
        archive.writestr(f"{about}/RECORD", "")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest in (right, "0" * 64):
        lock = tmp_path / "lock"
        lock.write_text(f"plum==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
        words = [
            "pip",
            "install",
            "--offline",
            "--no-index",
            "--find-links",
            tmp_path,
            "--no-cache",
        ]
        words += ["--python", sys.executable, "--target", tmp_path / digest[:8], "-c", lock, "plum"]
        ran = subprocess.run([uv, *words], capture_output=True, text=True)
        assert (ran.returncode == 0) == (digest == right), ran.stderr
    assert "Hash mismatch for `plum==1.0`" in ran.stderr
