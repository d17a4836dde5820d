"""Makes the graphs of all tests quicker, and garbage collection rare."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from quick_graphs import quicken, rest_collector  # noqa: E402


def pytest_collection_finish() -> None:
    rest_collector()


@pytest.fixture(scope="session", autouse=True)
def quick_graphs() -> Iterator[None]:
    """Without the pipeline, Beam is not even imported."""
    with pytest.MonkeyPatch.context() as patch:
        if "heterrec_pipeline" in sys.modules:
            quicken(patch.setattr)
        yield
