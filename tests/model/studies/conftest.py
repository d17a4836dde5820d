"""Makes the modules beside the tests importable (importlib mode); a study of tiny models, with workers that are forks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from forked_worker import ForkedWorker

from heterrec_model.studies import pool
from heterrec_model.studies.study_file import Study

TINY = {
    "model.width": 8,
    "model.token_blocks": 1,
    "model.embedding_width": 8,
    "model.features": ["brand"],
    "negatives.in_batch": 16,
    "negatives.uniform": 16,
    "negatives.token": 16,
    "data.batch_items": 128,
    "train.epochs": 2,
    "train.refit_epochs": 0,
    "train.tensorboard": False,
    "train.log_every": 1,
    "train.device": "cpu",
}


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers need not import PyTorch again."""
    monkeypatch.setattr(pool, "_spawn", ForkedWorker)


@pytest.fixture
def make_study(shop_data: Path) -> Callable[..., Study]:
    """A study of two tiny models with two seeds, with some parts otherwise."""

    def make(**parts: Any) -> Study:
        body = {
            "name": "tiny",
            "set": TINY,
            "ks": [10, 50],
            "seeds": [0, 1],
            "data": {"shop": {"path": str(shop_data)}},
            "models": {"plain": {"set": {"model.name": "sasrec"}}, "whole": {}},
            "counting": ["popular"],
            "baselines": ["popular", "plain"],
        }
        return Study.model_validate({**body, **parts})

    return make
