"""A run of a few steps."""

from pathlib import Path

import pytest
from conftest import MakeConfig

from heterrec_model.training.train import train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, shop_data: Path, tiny: MakeConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "shop"
    train(tiny(), shop_data, folder)
    return folder
