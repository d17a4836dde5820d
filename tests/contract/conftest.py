"""Makes the modules beside the tests importable (importlib mode) and finds the real data."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ["CONTRACT_KEY"] = "a key of the tests of the contract"  # of specs with hash_key


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, specs and the checker, beside the repository."""
    folder = HERE.parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real data in ../shared/data, which is absent")
    return folder
