"""Generations to load from: each written once a run."""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from loader_helpers import Cut, write_generation

from heterrec_schemas import Generation
from heterrec_schemas.testing import Settings, shop


@pytest.fixture(scope="session")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Text keys, leave-one-out, every kind of feature on both sides."""
    return write_generation(tmp_path_factory.mktemp("plain"), liked=True)


@pytest.fixture(scope="session")
def flattened(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """The same rows in the other layout."""
    folder = tmp_path_factory.mktemp("flattened")
    return write_generation(folder, settings=Settings(layout="flattened"), liked=True)


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Integer keys, temporal cuts, several windows a user, items outside the catalogue."""
    settings = Settings(
        split="temporal",
        train_windows="all",
        unknown_items="oov",
        max_length=4,
        item_shards=3,
        items_format="parquet",
        interactions_format="jsonl",
    )
    goods = shop(7, integer_keys=True)
    return write_generation(tmp_path_factory.mktemp("rich"), settings=settings, goods=goods)


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """Makes a generation by its number of sequence shards and the rows of its row groups."""

    @cache
    def make(shards: int, row_group: int) -> Generation:
        folder = tmp_path_factory.mktemp("cut")
        settings = Settings(sequence_shards=shards)
        return write_generation(folder, settings=settings, row_group=row_group)

    return make
