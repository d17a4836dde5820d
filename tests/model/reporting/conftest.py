"""A run of a few steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from heterrec_model.config import Config
from heterrec_model.training.train import train


@pytest.fixture(scope="session")
def run(
    tmp_path_factory: pytest.TempPathFactory, shop_data: Path, tiny: Callable[..., Config]
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "shop"
    config = tiny(model={"repeats": {"enabled": True}}, train={"refit_epochs": 0})
    train(config, data=shop_data, run=folder, quiet=True)
    return folder
