"""Small generations, written once per run; tests that damage one work on a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, shop, small_generation

# The first example compiles and imports; a deadline would only measure the machine.
settings.register_profile("schemas", deadline=None, derandomize=True, database=None)
settings.load_profile("schemas")


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder: text keys, leave-one-out, referenced."""
    folder = tmp_path_factory.mktemp("output")
    small_generation(folder, 0)
    return folder


@pytest.fixture(scope="session")
def generation(output: Path) -> Generation:
    return open_generation(output)


@pytest.fixture(scope="session")
def rich_generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Integer keys, temporal cuts, windows, items outside the catalogue, flattened."""
    folder = tmp_path_factory.mktemp("rich")
    chosen = Settings(
        split="temporal",
        train_windows="all",
        unknown_items="oov",
        layout="flattened",
        max_length=4,
        item_shards=3,
        item_vocabulary_shards=2,
        items_format="parquet",
        interactions_format="jsonl",
    )
    small_generation(folder, 7, settings=chosen, goods=shop(7, integer_keys=True))
    return open_generation(folder)


@pytest.fixture
def copied(output: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the output folder; returns the copied generation's own folder."""

    def copy() -> Path:
        shutil.copytree(output, tmp_path / "copy")
        return next((tmp_path / "copy" / "generations").iterdir())

    return copy
