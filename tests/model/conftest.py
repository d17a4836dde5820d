"""Makes the modules beside the tests importable (importlib mode); fixtures: a small shop, settings of a tiny run."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Set before PyTorch is imported, also for processes that tests start: several processes with several threads each would
# spend most of their time waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# ranx in plain Python, also set before its import: to compile it takes most of a minute, to run it a second.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import pytest

from heterrec_model.config import Config
from heterrec_schemas.testing import Settings, shop, small_generation

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="session")
def shop_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder; its generation has 40 users, every one with a validation target."""
    folder = tmp_path_factory.mktemp("shop")
    small_generation(folder, 0, settings=Settings(), goods=shop(0, users=60, interactions=1500))
    return folder


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another generation."""
    folder = tmp_path_factory.mktemp("other")
    small_generation(folder, 1)
    return folder


@pytest.fixture(scope="session")
def settings() -> Callable[..., dict[str, Any]]:
    """Settings of a tiny run, with some of them otherwise: `settings(train={"epochs": 2})`."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        tiny: dict[str, dict[str, Any]] = {
            "model": {
                "width": 8,
                "token_blocks": 1,
                "item_blocks": 1,
                "embedding_width": 8,
                "features": ["brand", "look"],
            },
            "negatives": {"in_batch": 32, "uniform": 16, "token": 16},
            "data": {"batch_items": 64, "shuffle_rows": 40},
            "train": {
                "epochs": 3,
                "threads": 1,
                "warmup_steps": 4,
                "log_every": 2,
                "tensorboard": False,
                "device": "cpu",
            },
        }
        for name, section in sections.items():
            tiny.setdefault(name, {}).update(section)
        return tiny

    return make


@pytest.fixture(scope="session")
def tiny(settings: Callable[..., dict[str, Any]]) -> MakeConfig:
    """The configuration of a tiny run: see `settings`."""

    def make(**sections: dict[str, Any]) -> Config:
        return Config.model_validate(settings(**sections))

    return make
