"""Makes the modules beside the tests importable (importlib mode) and finds the real data."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

# A build takes seconds: few examples, always the same and not shrunk, unless HETERREC_EXAMPLES
# asks for a soak.
EXAMPLES = int(os.environ.get("HETERREC_EXAMPLES", "0"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "contract",
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=SLOW,
)
settings.register_profile(
    "contract-soak", deadline=None, max_examples=EXAMPLES or 100, suppress_health_check=SLOW
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, specs and the checker, beside the repository."""
    folder = HERE.parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real data in ../shared/data, which is absent")
    return folder
