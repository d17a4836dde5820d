"""Makes the modules beside the tests importable (importlib mode), and generations to evaluate on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, shop, small_generation


@pytest.fixture(scope="session")
def many_targets(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Temporal, all targets, some twice; histories with items outside the catalogue."""
    settings = Settings(split="temporal", unknown_items="oov", max_length=6)
    small_generation(folder := tmp_path_factory.mktemp("many"), 3, settings=settings)
    return open_generation(folder)


@pytest.fixture(scope="session")
def one_target(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Leave one out, with integer keys."""
    settings = Settings(items_format="parquet", interactions_format="jsonl", max_length=7)
    goods = shop(5, users=30, interactions=900, integer_keys=True)
    folder = tmp_path_factory.mktemp("one")
    small_generation(folder, 5, settings=settings, goods=goods)
    return open_generation(folder)
