"""Makes the graphs of all tests quicker, garbage collection rare, and leaves files to the disk's cache."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from quick_graphs import quicken, rest_collector  # noqa: E402


def pytest_collection_finish() -> None:
    rest_collector()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # extensions complain of objects that are left at the end


@pytest.fixture(scope="session", autouse=True)
def quick_builds() -> Iterator[None]:
    """Make builds quicker; without the pipeline, Beam is not even imported."""
    with pytest.MonkeyPatch.context() as patch:
        if "heterrec_pipeline" in sys.modules:
            quicken(patch.setattr)
        # No power is cut. The tests of what is flushed, and when, record the calls.
        patch.setattr(os, "fsync", lambda _handle: None)
        yield
