"""Makes the modules beside the tests importable (importlib mode), and those that other tests share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / room) for room in ("contract", "pipeline"))]

from services import JobService  # noqa: E402

from heterrec_pipeline.runtime.engines.choose import engines_folder  # noqa: E402


@pytest.fixture
def service() -> Iterator[JobService]:
    """Beam's local job service, as a process of its own."""
    with JobService() as running:
        yield running


@pytest.fixture(scope="session")
def prism() -> None:
    """Skips where Prism and the worker's boot program were not built."""
    absent = [n for n in ("prism", "boot", "boot.sh") if not (engines_folder() / n).exists()]
    if absent:
        pytest.skip(f"needs {', '.join(absent)} in {engines_folder()}: run `make engines`")
