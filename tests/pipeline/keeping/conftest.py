"""One small generation for all tests of this folder, and the module with chains of its copies."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from heterrec_schemas.testing.generation import small_generation  # noqa: E402


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small generation, which tests copy."""
    return small_generation(tmp_path_factory.mktemp("source"), 1)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty output folder."""
    path = tmp_path / "output"
    (path / "generations").mkdir(parents=True)
    return path
