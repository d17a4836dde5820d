"""A shop with behaviours, user features and items outside the catalogue; a run on it, and its bundle."""

from pathlib import Path

import pytest

from heterrec_model.config import Config
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.serving.export import export
from heterrec_model.serving.recommender import Recommender
from heterrec_model.training.train import train
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, shop, small_generation


@pytest.fixture(scope="session")
def served_shop(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(unknown_items="oov", max_length=16, min_length=1, codebooks=True)
    small_generation(folder, 0, settings=settings, goods=shop(0, users=150, interactions=1800))
    return open_generation(folder)


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory, served_shop: Generation) -> Path:
    """Two lengths of graphs, every kind of feature, pre-LN, a bias per head, repeats, token heads."""
    folder = tmp_path_factory.mktemp("served_runs") / "run"
    config = Config.model_validate(
        {
            "model": {
                "width": 8,
                "embedding_width": 8,
                "max_length": 12,
                "token_blocks": 1,
                "item_blocks": 2,
                "norm": "pre",
                "time_gap": {"per_head": True},
                "repeats": {"enabled": True, "similarity": 0.5},
                "token_heads": True,
            },
            "negatives": {"in_batch": 16, "uniform": 16, "token": 16},
            "train": {
                "max_steps": 6,
                "warmup_steps": 2,
                "threads": 1,
                "tensorboard": False,
                "device": "cpu",
            },
        }
    )
    train(config, data=served_shop.root, run=folder, quiet=True)
    return folder


@pytest.fixture(scope="session")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, served_run: Path, served_shop: Generation
) -> Path:
    return export(served_run, served_shop, tmp_path_factory.mktemp("bundles") / "bundle").path


@pytest.fixture(scope="session")
def from_run(served_run: Path, served_shop: Generation) -> Recommender:
    return Recommender.load(served_run, served_shop)


@pytest.fixture(scope="session")
def from_bundle(bundle: Path) -> BundleRecommender:
    return BundleRecommender.open(bundle)
