"""Makes the modules beside the tests importable (importlib mode), and their fixtures known."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from store_fixtures import folder as folder  # noqa: E402
from store_fixtures import started as started  # noqa: E402
from store_fixtures import store as store  # noqa: E402
from store_fixtures import store_named as store_named  # noqa: E402
