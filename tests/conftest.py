"""Makes the graphs of all tests quicker."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from quick_graphs import quicken  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def quick_graphs() -> Iterator[None]:
    """Without the pipeline, Beam is not even imported."""
    with pytest.MonkeyPatch.context() as patch:
        if "heterrec_pipeline" in sys.modules:
            quicken(patch.setattr)
        yield
